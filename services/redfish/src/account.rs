//! Accounts of a BMC (schema ManagerAccount).

use serde_json::{Value, json};

use crate::client::link;
use crate::{Client, Error};

impl Client {
    /// Gives a user another password.
    ///
    /// # Errors
    ///
    /// See [`Error`]; what the BMC says of a refusal is left out, for it may repeat the password.
    pub async fn set_password(&self, user: &str, password: &str) -> Result<(), Error> {
        let service = link(&self.root()["AccountService"]).unwrap_or("/redfish/v1/AccountService").to_owned();
        let accounts = link(&self.get(&service).await?["Accounts"])
            .map_or_else(|| format!("{}/Accounts", service.trim_end_matches('/')), str::to_owned);
        for path in self.members(&accounts).await? {
            let account = self.get(&path).await?;
            if account["UserName"].as_str() == Some(user) {
                let etag = account["@odata.etag"].as_str().and_then(|it| it.parse().ok());
                let body = json!({"Password": password});
                let done = self.patch("set password", &path, &body, etag, true).await;
                wipe(body);
                return done;
            }
        }
        Err(Error::Missing(format!("account {user} in its AccountService")))
    }

    /// The shortest and longest password that the BMC takes, as far as it says.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn password_lengths(&self) -> Result<(Option<u64>, Option<u64>), Error> {
        let path = link(&self.root()["AccountService"]).unwrap_or("/redfish/v1/AccountService").to_owned();
        let service = self.get(&path).await?;
        Ok((service["MinPasswordLength"].as_u64(), service["MaxPasswordLength"].as_u64()))
    }
}

/// Overwrites the texts of a body.
fn wipe(body: Value) {
    if let Value::Object(members) = body {
        for (_, value) in members {
            if let Value::String(text) = value {
                drop(zeroize::Zeroizing::new(text));
            }
        }
    }
}
