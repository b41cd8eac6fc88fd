//! People with a password here, and how they log in.

use std::sync::PoisonError;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Role;
use domain::feed::Change;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use web::{Caller, Json, Path, Revoked, feed};
use zeroize::Zeroizing;

use super::{Auth, clock};
use crate::error::Error;
use crate::model::{self, Account, Directory, Source};
use crate::password::Password;
use crate::store;

/// Someone as they are shown: never anything of their password.
#[derive(Debug, Serialize)]
pub(super) struct UserAnswer {
    name: String,
    role: Role,
    created: String,
}

impl From<Account> for UserAnswer {
    fn from(account: Account) -> Self {
        let Account { name, role, created, password: _ } = account;
        Self { name, role, created }
    }
}

pub(super) async fn list_users(State(auth): State<Auth>) -> Json<Vec<UserAnswer>> {
    let accounts = auth.directory.read(Directory::accounts);
    Json(accounts.into_iter().map(UserAnswer::from).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    name: String,
    role: String,
    password: Password,
}

pub(super) async fn create_user(
    State(auth): State<Auth>,
    Json(new): Json<NewUser>,
) -> Result<Response, Error> {
    if !model::is_name(&new.name) {
        return Err(Error::AccountName(new.name));
    }
    let role: Role = new.role.parse().map_err(Error::Role)?;
    if auth.directory.read(|it| it.client(&new.name)).is_some() {
        return Err(Error::NameOfClient(new.name));
    }
    let password = auth.passwords.digest(new.password.0).await?;
    let mut tx = auth.database.begin().await?;
    let created = store::insert_account(&mut *tx, &new.name, &password, role).await?;
    let created = created.format(&Rfc3339).unwrap_or_default();
    let account = Account { name: new.name, role, created, password };
    feed::commit(tx, &[change(&account)], &auth.directory).await?;
    let place = format!("/pilothouse/v1/users/{}", account.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(UserAnswer::from(account))).into_response())
}

fn change(account: &Account) -> Change {
    Change::put("account", &account.name, serde_json::to_value(account).unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    role: Option<String>,
    password: Option<Password>,
}

/// Another role or another password ends every log-in, and every token that was given.
pub(super) async fn replace_user(
    State(auth): State<Auth>,
    Path(name): Path<String>,
    Json(new): Json<UserChange>,
) -> Result<Json<UserAnswer>, Error> {
    let now = clock();
    let role: Option<Role> = new.role.map(|it| it.parse()).transpose().map_err(Error::Role)?;
    if auth.directory.read(|it| it.account(&name)).is_none() {
        return Err(Error::NoAccount(name));
    }
    let password = match new.password {
        Some(password) => Some(auth.passwords.digest(password.0).await?),
        None => None,
    };
    let mut tx = auth.database.begin().await?;
    let row = store::update_account(&mut *tx, &name, password.as_deref(), role).await?;
    let Some((password, role, created)) = row else { return Err(Error::NoAccount(name)) };
    store::delete_account_sessions(&mut *tx, &name).await?;
    let created = created.format(&Rfc3339).unwrap_or_default();
    let account = Account { name, role: role.parse().map_err(Error::Role)?, created, password };
    let revoked = Revoked::Subject { id: account.name.clone(), before: now.unix_timestamp() };
    auth.commit_revoked(tx, vec![revoked], vec![change(&account)], now).await?;
    Ok(Json(account.into()))
}

pub(super) async fn remove_user(
    State(auth): State<Auth>,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    let now = clock();
    let mut tx = auth.database.begin().await?;
    if !store::delete_account(&mut *tx, &name).await? {
        return Err(Error::NoAccount(name));
    }
    let revoked = Revoked::Subject { id: name.clone(), before: now.unix_timestamp() };
    auth.commit_revoked(tx, vec![revoked], vec![Change::delete("account", &name)], now).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Auth {
    /// The person of this name and password. Unknown ones take as long, and tries are counted.
    pub(super) async fn log_in(
        &self,
        name: &str,
        password: Zeroizing<String>,
        caller: &Caller,
        now: OffsetDateTime,
    ) -> Result<Account, Error> {
        // What nobody can be called is not counted by name, or strangers could fill the memory with names.
        let counted = if model::is_name(name) { name } else { "" };
        let source = Source::new(caller.address);
        let seconds = now.unix_timestamp();
        let begun = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.begin(counted, source, seconds)
        };
        begun.map_err(Error::Throttled)?;
        let account = self.directory.read(|it| it.account(name));
        let kept = account.as_ref().map(|it| it.password.as_str());
        let known = self.passwords.verify(password, kept).await?;
        match account.filter(|_| known) {
            Some(account) => {
                self.throttle.lock().unwrap_or_else(PoisonError::into_inner).succeed(counted, source);
                let (actor, whence) = (&account.name, shown(caller));
                daemon::audit!(actor = actor, whence = whence, result = "ok", "log-in with a password");
                Ok(account)
            }
            None => {
                let name: String = name.chars().take(64).collect();
                let place = shown(caller);
                daemon::event!(domain::event::LOGIN_FAILED, "a log-in as {name:?} from {place} failed");
                daemon::audit!(actor = name, whence = place, result = "refused", "log-in with a password");
                Err(Error::LogIn)
            }
        }
    }
}

fn shown(caller: &Caller) -> String {
    caller.address.map_or_else(|| caller.subject.clone(), |it| it.to_string())
}
