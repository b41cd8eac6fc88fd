//! Another password for a BMC: made here, set by its protocol, tried, and only then stored.

use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use domain::inventory::Endpoint;
use inventory::client::Credential;
use web::ClientError;
use zeroize::Zeroizing;

use super::{Bmcs, Link, LinkError, OpenError, Protocol, resolve};

/// What every BMC takes: the 16 bytes of IPMI 1.5, letters and digits that every console has.
const LENGTH: usize = 16;
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789-_";
/// How long a step of it may take.
const STEP_MAX: Duration = Duration::from_secs(5);

/// Why the password was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the password stays as it was")]
    Set(#[source] LinkError),
    #[error("the BMC has no user {0}; set the account it has: pilotctl bmc set")]
    NoUser(String),
    #[error("the system gives no random numbers; the password stays as it was")]
    Random,
    #[error("the BMC took the new password and then refused it; the old one was set again")]
    Refused(#[source] OpenError),
    #[error("the inventory does not store the new password; the old one was set again")]
    Store(#[source] ClientError),
    #[error(
        "the new password could not be kept ({why}), and the BMC does not take the old one again either; set one by \
         the BMC's own means, then pilotctl bmc set"
    )]
    Locked {
        why: String,
        #[source]
        source: LinkError,
    },
}

impl Bmcs {
    /// Gives the account of a BMC another password.
    pub(crate) async fn rotate(&self, endpoint: &Endpoint) -> Result<(), RotateError> {
        let old = self.credential(endpoint, true).await?;
        let new =
            Credential { user: old.user.clone(), password: make_password()?.to_string(), kg: old.kg.clone() };
        let node = endpoint.nodes.first().unwrap_or(&endpoint.id);
        let link = self.link(endpoint, node, STEP_MAX).await?;
        let protocol = link.protocol();
        let set = set_password(&link, &new).await;
        if let Err(error) = set {
            // Whether it was set is not known where the answer was lost: the trial below tells.
            let is_lost = matches!(&error, RotateError::Set(it) if it.is_lost());
            if !is_lost {
                link.close().await;
                return Err(error);
            }
        }
        let tried = self.try_account(endpoint, &new, protocol).await;
        let failed = match tried {
            Ok(()) => match self.inventory.replace_credential(&endpoint.id, &new).await {
                Ok(()) => None,
                Err(error) => Some(RotateError::Store(error)),
            },
            Err(error) => Some(RotateError::Refused(error)),
        };
        let Some(failed) = failed else {
            link.close().await;
            self.credential(endpoint, true).await?;
            return Ok(());
        };
        // The session that is open outlives the password it was opened with.
        let undone = set_password(&link, &old).await;
        link.close().await;
        match undone {
            Ok(()) => Err(failed),
            Err(RotateError::Set(source)) => Err(RotateError::Locked { why: failed.to_string(), source }),
            Err(other) => Err(other),
        }
    }

    /// Whether an account opens the BMC.
    async fn try_account(
        &self,
        endpoint: &Endpoint,
        account: &Credential,
        protocol: Protocol,
    ) -> Result<(), OpenError> {
        match protocol {
            Protocol::Ipmi => {
                let address = resolve(endpoint).await?;
                let session = self.log_in_ipmi(endpoint, address, account, STEP_MAX).await?;
                Link::Ipmi(session).close().await;
            }
            Protocol::Redfish => {
                let client = self.log_in_redfish(endpoint, account, STEP_MAX).await?;
                Link::Redfish { client: Box::new(client), path: String::new() }.close().await;
            }
        }
        Ok(())
    }
}

async fn set_password(link: &Link, account: &Credential) -> Result<(), RotateError> {
    match link {
        Link::Ipmi(session) => {
            let users = session.users().await.map_err(|it| RotateError::Set(it.into()))?;
            let user = users.iter().find(|it| it.name == account.user);
            let user = user.ok_or_else(|| RotateError::NoUser(account.user.clone()))?;
            let done = session.set_user_password(user.id, &account.password).await;
            done.map_err(|it| RotateError::Set(it.into()))
        }
        Link::Redfish { client, .. } => {
            let done = client.set_password(&account.user, &account.password).await;
            done.map_err(|it| RotateError::Set(it.into()))
        }
    }
}

/// Sixteen characters, each as likely as any other, of every kind that policies ask for.
fn make_password() -> Result<Zeroizing<String>, RotateError> {
    let random = SystemRandom::new();
    let kinds: [fn(&u8) -> bool; 4] =
        [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit, u8::is_ascii_punctuation];
    loop {
        let mut password = Zeroizing::new(String::with_capacity(LENGTH));
        while password.len() < LENGTH {
            let mut octet = [0];
            random.fill(&mut octet).map_err(|_| RotateError::Random)?;
            // The alphabet has 58 characters; what is above a multiple of it would favour the first ones.
            let at = usize::from(octet[0]);
            if at < ALPHABET.len() * 4 {
                password.push(char::from(ALPHABET[at % ALPHABET.len()]));
            }
        }
        if kinds.iter().all(|is| password.bytes().any(|it| is(&it))) {
            return Ok(password);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{ALPHABET, LENGTH, make_password};

    #[test]
    fn a_password_is_of_every_kind_and_never_the_same() {
        assert_eq!(ALPHABET.len(), 58);
        let made: std::collections::HashSet<String> =
            (0..200).map(|_| make_password().unwrap().to_string()).collect();
        assert_eq!(made.len(), 200);
        for it in &made {
            assert_eq!(it.len(), LENGTH);
            assert!(it.bytes().any(|it| it.is_ascii_digit()) && it.contains(['-', '_']), "{it}");
        }
    }
}
