//! Accounts (RFC 8555 sections 7.3 and 7.3.5).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use web::{Caller, Path};

use super::signed::account_id;
use super::{AcmeProblem, Base, Signed, Signer, external, new_id, now};
use crate::api::Ca;
use crate::store::{self, Account};
use crate::wire::{Jwk, Jws, Key};

const CONTACTS_MAX: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Update {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Map<String, Value>,
}

pub(super) async fn create(
    State(ca): State<Ca>,
    caller: Caller,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let Signer::Key(key) = &signed.signer else {
        return Err(AcmeProblem::malformed("an account is made with its key: jwk instead of kid"));
    };
    let asked: NewAccount = signed.json()?;
    let thumbprint = key.thumbprint();
    let db = ca.acme.database.pool()?;
    if let Some(account) = store::find_account_by_key(db, &thumbprint).await? {
        if account.status != "valid" {
            return Err(AcmeProblem::unauthorized("the account of this key is deactivated"));
        }
        return Ok(answer(&signed.base, &account, StatusCode::OK));
    }
    if asked.only_return_existing {
        return Err(AcmeProblem::bad("accountDoesNotExist", "this key has no account"));
    }
    check_contact(&asked.contact)?;
    if !ca.acme.sources.take(caller.address, ca.acme.config.limits.accounts_per_hour, ca.acme.uptime_s()) {
        return Err(AcmeProblem::limited("too many new accounts came from this address within the hour"));
    }
    let eab = match &asked.external_account_binding {
        Some(binding) => Some(external::check(&ca, binding, key, &signed.url).await?),
        // The head's own gateway asks from the head; whose names it may have is proven all the same.
        None if ca.acme.config.eab && !caller.address.is_some_and(|it| it.to_canonical().is_loopback()) => {
            let detail = "an account is admitted by a key of `pilotctl ca eab add` (--eab, --kid, --hmac)";
            return Err(AcmeProblem::bad("externalAccountRequired", detail));
        }
        None => None,
    };
    let (id, created, status) = (new_id()?, now(), "valid".to_owned());
    let (jwk, contact) = (key.canonical(), asked.contact);
    let account = Account { id, thumbprint, jwk, contact, status, eab, created };
    if store::insert_account(db, &account).await? {
        tracing::info!("a new ACME account {} from {:?}", account.id, caller.address);
        return Ok(answer(&signed.base, &account, StatusCode::CREATED));
    }
    // Made twice at once; both are told of the one.
    let account = store::find_account_by_key(db, &account.thumbprint).await?;
    Ok(answer(&signed.base, &account.ok_or_else(|| AcmeProblem::not_found("account"))?, StatusCode::OK))
}

pub(super) async fn update(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let mut account = own(&signed, &id)?.clone();
    if signed.payload.is_empty() {
        return Ok(answer(&signed.base, &account, StatusCode::OK));
    }
    let update: Update = signed.json()?;
    match update.status.as_deref() {
        None | Some("valid") => {}
        Some("deactivated") => account.status = "deactivated".to_owned(),
        Some(_) => return Err(AcmeProblem::malformed("an account's status becomes deactivated, if at all")),
    }
    if let Some(contact) = update.contact {
        check_contact(&contact)?;
        account.contact = contact;
    }
    store::update_account(ca.acme.database.pool()?, &account).await?;
    Ok(answer(&signed.base, &account, StatusCode::OK))
}

/// The account of the path, if it is the one that signed.
pub(super) fn own<'a>(signed: &'a Signed, id: &str) -> Result<&'a Account, AcmeProblem> {
    let account = signed.account()?;
    (account.id == id)
        .then_some(account)
        .ok_or_else(|| AcmeProblem::unauthorized("this is another's account"))
}

/// The new key signs that it takes over, inside of what the old one signs.
pub(super) async fn change_key(State(ca): State<Ca>, signed: Signed) -> Result<Response, AcmeProblem> {
    let account = signed.account()?;
    let inner = Jws::parse(&signed.payload)?;
    let Key::Jwk(new) = &inner.key else {
        return Err(AcmeProblem::malformed("the inner signature names the new key: jwk"));
    };
    if inner.nonce.is_some() {
        return Err(AcmeProblem::malformed("the inner signature has no nonce"));
    }
    inner.verify(new)?;
    if inner.url != signed.url {
        return Err(AcmeProblem::malformed("both signatures are for one url"));
    }
    let change: KeyChange = serde_json::from_slice(&inner.payload)
        .map_err(|_| AcmeProblem::malformed("the inner payload is account and oldKey"))?;
    if account_id(&change.account) != Some(account.id.as_str()) {
        return Err(AcmeProblem::malformed("the inner payload names another account"));
    }
    let old = Jwk::read(&change.old_key).map_err(|it| AcmeProblem::bad("badPublicKey", it))?;
    if old.thumbprint() != account.thumbprint {
        return Err(AcmeProblem::malformed("oldKey is not the account's key"));
    }
    let (db, thumbprint) = (ca.acme.database.pool()?, new.thumbprint());
    let done = store::update_account_key(db, account, &thumbprint, &new.canonical()).await;
    match done {
        Ok(true) => {}
        Ok(false) => return Err(AcmeProblem::unauthorized("the account has another key by now")),
        Err(error) => {
            let taken = error.as_database_error().and_then(|it| it.constraint()) == Some("acme_account_key");
            if !taken {
                return Err(error.into());
            }
            let other = store::find_account_by_key(db, &thumbprint).await?;
            let mut problem =
                AcmeProblem::new(StatusCode::CONFLICT, "malformed", "another account has the new key");
            problem.location = other.map(|it| location(&signed.base, &it));
            return Err(problem);
        }
    }
    Ok(answer(&signed.base, account, StatusCode::OK))
}

fn check_contact(contact: &[String]) -> Result<(), AcmeProblem> {
    if contact.len() > CONTACTS_MAX {
        return Err(AcmeProblem::bad("invalidContact", format!("more than {CONTACTS_MAX} contacts")));
    }
    for one in contact {
        let Some(address) = one.strip_prefix("mailto:") else {
            return Err(AcmeProblem::bad("unsupportedContact", "a contact is a mailto: of one address"));
        };
        let good = |it: u8| it.is_ascii_graphic() && !b",?<>\"()".contains(&it);
        let parts = address.split_once('@').filter(|it| !it.0.is_empty() && !it.1.is_empty());
        if address.len() > 254 || parts.is_none_or(|it| it.1.contains('@')) || !address.bytes().all(good) {
            return Err(AcmeProblem::bad("invalidContact", "a contact is a mailto: of one address"));
        }
    }
    Ok(())
}

fn location(base: &Base, account: &Account) -> String {
    base.url(&format!("account/{}", account.id))
}

fn answer(base: &Base, account: &Account, status: StatusCode) -> Response {
    let url = location(base, account);
    let body = web::Json(json!({
        "status": account.status,
        "contact": account.contact,
        "termsOfServiceAgreed": true,
        "orders": format!("{url}/orders"),
    }));
    let mut headers = HeaderMap::new();
    if let Ok(url) = HeaderValue::try_from(url) {
        headers.insert(header::LOCATION, url);
    }
    (status, headers, body).into_response()
}
