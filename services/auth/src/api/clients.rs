//! Clients: programs that fetch tokens for themselves, or send people here to log in.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::Role;
use domain::feed::Change;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use web::jwt::{Algorithm, PublicKey};
use web::{Json, Path, Revoked, feed};

use super::{Auth, clock};
use crate::error::Error;
use crate::model::{self, Client, Directory, check_redirect, role_word};
use crate::store;

/// So many redirect addresses, and so many keys, one client may have.
const REDIRECTS_MAX: usize = 16;
const KEYS_MAX: usize = 8;

/// A client as it is shown: never anything of its secret.
#[derive(Debug, Serialize)]
pub(super) struct ClientAnswer {
    id: String,
    role: String,
    description: String,
    created: String,
    redirect_uris: Vec<String>,
    /// How it proves itself: `secret`, `key` or `none`.
    proof: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<Algorithm>,
    /// Shown once, when the client is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl ClientAnswer {
    fn new(client: Client, secret: Option<String>) -> Self {
        let proof = match &client {
            it if it.is_public() => "none",
            it if it.jwks.is_some() => "key",
            _ => "secret",
        };
        let Client { id, role, description, created, redirect_uris, algorithm, .. } = client;
        Self { id, role, description, created, redirect_uris, proof, algorithm, secret }
    }
}

pub(super) async fn list_clients(State(auth): State<Auth>) -> Json<Vec<ClientAnswer>> {
    let clients = auth.directory.read(Directory::clients);
    Json(clients.into_iter().map(|it| ClientAnswer::new(it, None)).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClient {
    id: String,
    role: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    redirect_uris: Vec<String>,
    /// Its public keys: then it has no secret and signs its requests.
    #[serde(default)]
    jwks: Option<Value>,
    /// It runs on people's own machines and can keep no secret.
    #[serde(default)]
    public: bool,
    #[serde(default)]
    algorithm: Option<Algorithm>,
}

impl NewClient {
    fn check(self) -> Result<Client, Error> {
        if !model::is_name(&self.id) {
            return Err(Error::ClientId(self.id));
        }
        let role: Role = self.role.parse().map_err(Error::Role)?;
        let wrong = |text: &str| Err(Error::Client(text.to_owned()));
        if self.redirect_uris.len() > REDIRECTS_MAX {
            return wrong("a client has at most 16 redirect addresses");
        }
        if self.public && self.jwks.is_some() {
            return wrong("a client is public or has keys, not both");
        }
        if self.public && self.redirect_uris.is_empty() {
            return wrong("a public client without a redirect address could do nothing; give redirect_uris");
        }
        if self.description.len() > 256 {
            return wrong("the description is longer than 256 bytes");
        }
        for uri in &self.redirect_uris {
            check_redirect(uri).map_err(Error::Client)?;
        }
        if let Some(jwks) = &self.jwks {
            let keys = jwks["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
            let private = keys.iter().any(|it| it.get("d").is_some());
            if private {
                return wrong("the keys are private; register their public halves, and make new ones");
            }
            let good = keys.iter().all(|it| PublicKey::from_jwk(it).is_some());
            if !good || !(1..=KEYS_MAX).contains(&keys.len()) {
                return wrong("jwks is a JWK set of 1 to 8 public keys for ES256 or RS256");
            }
        }
        Ok(Client {
            id: self.id,
            role: role_word(role).to_owned(),
            description: self.description,
            created: String::new(),
            secret_sha256: String::new(),
            redirect_uris: self.redirect_uris,
            jwks: self.jwks,
            algorithm: self.algorithm,
        })
    }
}

pub(super) async fn create_client(
    State(auth): State<Auth>,
    Json(new): Json<NewClient>,
) -> Result<Response, Error> {
    let has_secret = !new.public && new.jwks.is_none();
    let mut client = new.check()?;
    if auth.directory.read(|it| it.account(&client.id)).is_some() {
        return Err(Error::NameOfPerson(client.id));
    }
    let secret = has_secret.then(model::new_secret).transpose()?;
    let digest = secret.as_ref().map(|it| model::digest_of(it));
    let bytes = digest.as_ref().map(|it| URL_SAFE_NO_PAD.decode(it).unwrap_or_default());
    let mut tx = auth.database.begin().await?;
    let created = store::insert_client(&mut *tx, &client, bytes.as_deref()).await?;
    client.created = created.format(&Rfc3339).unwrap_or_default();
    client.secret_sha256 = digest.unwrap_or_default();
    let row = serde_json::to_value(&client).unwrap_or_default();
    feed::commit(tx, &[Change::put("client", &client.id, row)], &auth.directory).await?;
    let answer = ClientAnswer::new(client, secret.map(|it| it.to_string()));
    let place = format!("/pilothouse/v1/clients/{}", answer.id);
    let headers = [(header::LOCATION, place), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

/// The client goes, and with it everything that was given to it or through it.
pub(super) async fn remove_client(
    State(auth): State<Auth>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let now = clock();
    let mut tx = auth.database.begin().await?;
    if !store::delete_client(&mut *tx, &id).await? {
        return Err(Error::NoClient(id));
    }
    let sessions = store::delete_client_sessions(&mut *tx, &id).await?;
    let mut revoked = vec![Revoked::Subject { id: id.clone(), before: now.unix_timestamp() }];
    revoked.extend(sessions.into_iter().map(|it| Revoked::Session { id: it.to_string() }));
    auth.commit_revoked(tx, revoked, vec![Change::delete("client", &id)], now).await?;
    Ok(StatusCode::NO_CONTENT)
}
