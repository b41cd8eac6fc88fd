//! Keys that admit ACME accounts: `pilotctl ca eab`.

use aws_lc_rs::rand;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use web::{Json, Path};

use crate::api::Ca;
use crate::error::Error;
use crate::store;

/// Keys that there may be at once.
const KEYS_MAX: i64 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    #[serde(default)]
    description: String,
}

/// A new key: its secret is shown once.
#[derive(Debug, Serialize)]
pub(super) struct Key {
    kid: String,
    /// Base64url, as ACME clients take it.
    hmac_key: String,
}

pub(super) async fn create(
    State(ca): State<Ca>,
    Json(new): Json<NewKey>,
) -> Result<(StatusCode, Json<Key>), Error> {
    if new.description.chars().count() > 200 || new.description.contains(char::is_control) {
        return Err(Error::Description);
    }
    let (mut id, mut secret) = ([0; 12], zeroize::Zeroizing::new([0; 32]));
    let drawn = rand::fill(&mut id).and_then(|()| rand::fill(&mut *secret));
    drawn.map_err(|_| Error::Seal(web::SealError::Seal))?;
    let kid = URL_SAFE_NO_PAD.encode(id);
    let sealed = ca.acme.seal.seal(&*secret, &row(&kid))?;
    let db = ca.acme.database.pool()?;
    let count = store::count_eabs(db).await?;
    if count >= KEYS_MAX {
        return Err(Error::ManyEab(count));
    }
    store::insert_eab(db, &kid, &sealed, &new.description, OffsetDateTime::now_utc()).await?;
    Ok((StatusCode::CREATED, Json(Key { kid, hmac_key: URL_SAFE_NO_PAD.encode(*secret) })))
}

pub(super) async fn list(State(ca): State<Ca>) -> Result<Json<Vec<Value>>, Error> {
    let keys = store::list_eabs(ca.acme.database.pool()?).await?;
    let show = |it: store::Eab| {
        json!({
            "kid": it.id,
            "description": it.description,
            "created": it.created.format(&Rfc3339).unwrap_or_default(),
            "accounts": it.accounts,
        })
    };
    Ok(Json(keys.into_iter().map(show).collect()))
}

/// Accounts that the key admitted stay.
pub(super) async fn remove(State(ca): State<Ca>, Path(id): Path<String>) -> Result<StatusCode, Error> {
    let was = store::delete_eab(ca.acme.database.pool()?, &id).await?;
    if was { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NoEab(id)) }
}

/// What a sealed secret is bound to.
pub(crate) fn row(id: &str) -> String {
    format!("eab/{id}")
}
