//! What a token is given for: a code, a refresh token, a device's code.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::PgTransaction;
use time::OffsetDateTime;
use uuid::Uuid;
use web::Revoked;

use super::form::Form;
use crate::api::{Auth, Grant, TokenAnswer};
use crate::error::{Error, OauthError};
use crate::model::{self, Account, Client, IdClaims, digest_of, proves, role_word};
use crate::store::{self, Session};

/// How long an identity token is good: it tells that someone has just logged in.
const ID_LIFE: Duration = Duration::from_secs(600);
/// What a refresh token is sealed as.
const REFRESH: &str = "refresh";
const ENDED: OauthError = OauthError::Grant("the log-in has ended; log in again");

fn field<'a>(form: &'a Form, name: &str, missing: &'static str) -> Result<&'a str, OauthError> {
    form.get(name).map(|it| it.as_str()).ok_or(OauthError::Request(missing))
}

impl Auth {
    /// Begins a log-in of someone at a client.
    pub(super) async fn begin_session(
        &self,
        tx: &mut PgTransaction<'_>,
        account: &Account,
        (client, scope, nonce): (&str, &str, Option<&str>),
        now: OffsetDateTime,
    ) -> Result<Session, Error> {
        let session = Session {
            id: Uuid::new_v4(),
            account: account.name.clone(),
            client: client.to_owned(),
            scope: scope.to_owned(),
            nonce: nonce.map(str::to_owned),
            authenticated: now,
            expires: now + self.config.session_life.0,
            generation: 0,
        };
        store::insert_session(tx, &session).await?;
        Ok(session)
    }

    /// RFC 6749 section 4.1.3, with the proof of RFC 7636. A code that comes twice was stolen: its log-in ends.
    pub(super) async fn give_for_code(
        &self,
        client: &Client,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, OauthError> {
        let code = field(form, "code", "code is missing")?;
        let verifier = field(form, "code_verifier", "code_verifier is missing; PKCE with S256 is required")?;
        let wrong = OauthError::Grant("the code is not known, was used, or is another client's");
        let mut tx = self.database.begin().await?;
        let Some(code) = store::take_code(&mut *tx, &digest_of(code)).await? else { return Err(wrong) };
        let session = code.session;
        if session.client != client.id {
            return Err(wrong);
        }
        if code.used {
            self.end_session(tx, &session.id, now).await?;
            return Err(wrong);
        }
        let same_place = form.get("redirect_uri").is_some_and(|it| **it == code.redirect_uri);
        if code.until < now || !same_place || !proves(verifier, &code.challenge) {
            tx.commit().await?;
            return Err(OauthError::Grant(
                "the code has expired, or redirect_uri or code_verifier is not its own",
            ));
        }
        self.give_session(tx, &session, client, now).await
    }

    /// RFC 6749 section 6, each refresh token once (RFC 9700 section 4.14). One that comes twice was stolen.
    pub(super) async fn give_for_refresh(
        &self,
        client: &Client,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, OauthError> {
        let token = field(form, "refresh_token", "refresh_token is missing")?;
        let (id, generation) = self.open_refresh(token, &client.id).ok_or(ENDED)?;
        let mut tx = self.database.begin().await?;
        match store::renew_session(&mut *tx, id, generation, now).await? {
            Some(session) => self.give_session(tx, &session, client, now).await,
            None => {
                tracing::warn!("a refresh token of {} came twice or late; its log-in {id} ends", client.id);
                self.end_session(tx, &id, now).await?;
                Err(ENDED)
            }
        }
    }

    /// RFC 8628 section 3.4.
    pub(super) async fn give_for_device(
        &self,
        client: &Client,
        form: &Form,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, OauthError> {
        let digest = digest_of(field(form, "device_code", "device_code is missing")?);
        let wrong = OauthError::Grant("the device code is not known");
        let mut tx = self.database.begin().await?;
        let device = store::poll_device(&mut *tx, &digest, now).await?;
        let Some(device) = device.filter(|it| it.client == client.id) else { return Err(wrong) };
        if device.expires < now {
            return Err(OauthError::Expired);
        }
        if device.refused {
            return Err(OauthError::Denied);
        }
        if device.session.is_none() || device.hasty {
            tx.commit().await?;
            return Err(if device.hasty { OauthError::SlowDown } else { OauthError::Pending });
        }
        let session = store::take_device(&mut *tx, &digest).await?.ok_or(wrong)?;
        self.give_session(tx, &session, client, now).await
    }

    /// Ends a log-in and everything that was given for it.
    pub(super) async fn end_session(
        &self,
        mut tx: PgTransaction<'static>,
        id: &Uuid,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        if store::delete_session(&mut *tx, *id).await? {
            let revoked = Revoked::Session { id: id.to_string() };
            self.commit_revoked(tx, vec![revoked], Vec::new(), now).await?;
        }
        Ok(())
    }

    /// The tokens of a log-in: what the person may now, not what they might when they logged in.
    async fn give_session(
        &self,
        tx: PgTransaction<'static>,
        session: &Session,
        client: &Client,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, OauthError> {
        let account = self.directory.read(|it| it.account(&session.account));
        let (Some(account), Some(most)) = (account, client.role()) else {
            return Err(ENDED);
        };
        let role = account.role.min(most);
        let scope = model::scope_for(role, &session.scope);
        if scope.is_empty() {
            return Err(OauthError::Scope);
        }
        let wants_id = model::words(&scope).any(|it| it == "openid");
        let grant = Grant::new(&account.name, scope, self.config.token_life.0);
        let grant = Grant {
            client: Some(&client.id),
            session: Some(session.id),
            algorithm: client.algorithm,
            ..grant
        };
        let mut answer = self.give(grant, now)?;
        if wants_id {
            let given = now.unix_timestamp();
            let claims = IdClaims {
                iss: &self.issuer,
                sub: &account.name,
                aud: &client.id,
                iat: given,
                exp: given.saturating_add_unsigned(ID_LIFE.as_secs()),
                auth_time: session.authenticated.unix_timestamp(),
                nonce: session.nonce.as_deref(),
                sid: session.id,
                preferred_username: &account.name,
                role: role_word(role),
            };
            let algorithm = client.algorithm.unwrap_or(self.config.algorithm);
            answer.id_token = Some(self.keys.sign("JWT", &claims, algorithm, now).map_err(Error::from)?);
        }
        answer.refresh_token = Some(self.seal_refresh(session, &client.id)?);
        tx.commit().await?;
        Ok(answer)
    }

    /// A refresh token says, sealed, which log-in and which renewal of it it is for: nothing of it is kept.
    fn seal_refresh(&self, session: &Session, client: &str) -> Result<String, Error> {
        let mut text = session.id.as_bytes().to_vec();
        text.extend_from_slice(&session.generation.to_be_bytes());
        let sealed = self.seal.seal(&text, &format!("{REFRESH} {client}")).map_err(|_| Error::Random)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    pub(super) fn open_refresh(&self, token: &str, client: &str) -> Option<(Uuid, i32)> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        let text = self.seal.open(&sealed, &format!("{REFRESH} {client}")).ok()?;
        let (id, generation) = text.split_at_checked(16)?;
        Some((Uuid::from_slice(id).ok()?, i32::from_be_bytes(generation.try_into().ok()?)))
    }
}
