//! Orders (RFC 8555 section 7.4).

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use web::{Path, Query};

use super::{AcmeProblem, Base, Signed, account, link, new_id, now, renewal, show_time};
use crate::api::Ca;
use crate::config::DEFAULT_PROFILE;
use crate::model::{AuthorizationStatus, Identifier, OrderStatus, Request, order_status};
use crate::store::{self, Account, Authorization, Certificate, Order};
use crate::wire::decode;

/// How long an order may take.
const LIFE: Duration = Duration::hours(24);
/// Orders on one page of the list.
const PAGE: i64 = 100;

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Named>,
    not_before: Option<String>,
    not_after: Option<String>,
    profile: Option<String>,
    replaces: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Finalize {
    csr: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Place {
    #[serde(default)]
    from: u32,
}

pub(super) async fn create(State(ca): State<Ca>, signed: Signed) -> Result<Response, AcmeProblem> {
    let account = signed.account()?;
    let asked: NewOrder = signed.json()?;
    if asked.not_before.is_some() || asked.not_after.is_some() {
        return Err(AcmeProblem::malformed("notBefore and notAfter are not taken; a profile says how long"));
    }
    let identifiers = check_identifiers(&ca, &asked.identifiers)?;
    let profile = asked.profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    if !ca.acme.config.profiles.contains_key(&profile) {
        return Err(AcmeProblem::bad("invalidProfile", "there is no such profile; the directory names them"));
    }
    let mut tx = ca.acme.database.begin().await?;
    let now = now();
    let limit = ca.acme.config.limits.orders_per_hour;
    if store::count_orders(&mut *tx, &account.id, now - Duration::HOUR).await? >= i64::from(limit) {
        return Err(AcmeProblem::limited(format!("an account may order {limit} times in an hour")));
    }
    let replaces = match &asked.replaces {
        Some(id) => Some(find_replaced(&mut tx, account, id, &identifiers).await?),
        None => None,
    };
    let order = Order {
        id: new_id()?,
        account: account.id.clone(),
        profile,
        replaces,
        identifiers: identifiers.iter().map(ToString::to_string).collect(),
        expires: now + LIFE,
        created: now,
        certificate: None,
    };
    store::insert_order(&mut *tx, &order).await?;
    for identifier in &order.identifiers {
        let (id, token, identifier) = (new_id()?, new_id()? + &new_id()?, identifier.clone());
        let (status, expires) = (AuthorizationStatus::Pending, order.expires);
        let (order, account) = (order.id.clone(), account.id.clone());
        let (challenge, tried, problem) = (None, None, None);
        let new = Authorization {
            id,
            order,
            account,
            identifier,
            token,
            status,
            expires,
            challenge,
            tried,
            problem,
        };
        store::insert_authorization(&mut *tx, &new).await?;
    }
    let authorizations = store::list_authorizations(&mut *tx, &order.id).await?;
    tx.commit().await?;
    Ok(answer(&signed.base, &order, &authorizations, asked.replaces, StatusCode::CREATED))
}

/// The names of an order, each once, all allowed.
fn check_identifiers(ca: &Ca, named: &[Named]) -> Result<BTreeSet<Identifier>, AcmeProblem> {
    let limit = ca.acme.config.limits.names_per_order;
    if named.is_empty() || named.len() > limit {
        return Err(AcmeProblem::malformed(format!("an order has 1 to {limit} identifiers")));
    }
    let mut identifiers = BTreeSet::new();
    let mut refused = None;
    for one in named {
        let identifier = Identifier::parse(&one.kind, &one.value)?;
        if !ca.authorities.policy().allows(&identifier) {
            const DETAIL: &str = "the head makes certificates for names of the cluster's domain, for itself, for \
                addresses in its planes, and for what ca.allowed_names says";
            let problem = refused.take().unwrap_or_else(|| AcmeProblem::bad("rejectedIdentifier", DETAIL));
            refused = Some(problem.about("rejectedIdentifier", &identifier.json(), "not allowed"));
        }
        identifiers.insert(identifier);
    }
    refused.map_or(Ok(identifiers), Err)
}

/// The certificate that the new one is to replace (RFC 9773 section 5): the account's own, for one of these names at
/// least, and not replaced before.
async fn find_replaced(
    tx: &mut sqlx::PgTransaction<'_>,
    account: &Account,
    id: &str,
    identifiers: &BTreeSet<Identifier>,
) -> Result<String, AcmeProblem> {
    let serial =
        renewal::serial(id).ok_or_else(|| AcmeProblem::malformed("replaces names no certificate"))?;
    let unknown = || AcmeProblem::malformed("replaces names no certificate of this account");
    let found = store::find_certificate_by_serial(&mut **tx, &serial).await?;
    let found = found.filter(|it| it.account == account.id).ok_or_else(unknown)?;
    if renewal::id(&found.chain_pem).as_deref() != Some(id) {
        return Err(unknown());
    }
    if found.replaced {
        let detail = "the certificate was replaced already";
        return Err(AcmeProblem::new(StatusCode::CONFLICT, "alreadyReplaced", detail));
    }
    if !identifiers.iter().any(|it| found.identifiers.contains(&it.to_string())) {
        return Err(AcmeProblem::malformed("the certificate of replaces is for other names"));
    }
    Ok(found.id)
}

pub(super) async fn show(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    signed.reads()?;
    let db = ca.acme.database.pool()?;
    let order = own(&signed, store::find_order(db, &id).await?)?;
    let authorizations = store::list_authorizations(db, &id).await?;
    Ok(answer(&signed.base, &order, &authorizations, None, StatusCode::OK))
}

/// The order, if it is the signer's.
fn own(signed: &Signed, order: Option<Order>) -> Result<Order, AcmeProblem> {
    let order = order.ok_or_else(|| AcmeProblem::not_found("order"))?;
    let is_own = order.account == signed.account()?.id;
    is_own.then_some(order).ok_or_else(|| AcmeProblem::unauthorized("this is another account's order"))
}

pub(super) async fn list(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    Query(place): Query<Place>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    signed.reads()?;
    account::own(&signed, &id)?;
    let from = i64::from(place.from);
    let mut orders = store::list_orders(ca.acme.database.pool()?, &id, from, PAGE + 1).await?;
    let more = orders.len() > usize::try_from(PAGE).unwrap_or(usize::MAX);
    orders.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let urls: Vec<_> = orders.iter().map(|it| signed.base.url(&format!("order/{it}"))).collect();
    let mut headers = HeaderMap::new();
    if more {
        link(&mut headers, &signed.base.url(&format!("account/{id}/orders?from={}", from + PAGE)), "next");
    }
    Ok((headers, web::Json(json!({"orders": urls}))).into_response())
}

/// Issues the certificate, all in one transaction: it is kept before anybody has it.
pub(super) async fn finalize(
    State(ca): State<Ca>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Response, AcmeProblem> {
    let asked: Finalize = signed.json()?;
    let mut tx = ca.acme.database.begin().await?;
    let mut order = own(&signed, store::lock_order(&mut *tx, &id).await?)?;
    let authorizations = store::list_authorizations(&mut *tx, &id).await?;
    let now = now();
    if status(&order, &authorizations, now) != OrderStatus::Ready {
        let detail = format!("the order is {}", status(&order, &authorizations, now).word());
        return Err(AcmeProblem::new(StatusCode::FORBIDDEN, "orderNotReady", detail));
    }
    let der = decode(&asked.csr).ok_or_else(|| AcmeProblem::bad("badCSR", "csr is DER in base64url"))?;
    let request = Request::read(&der)?;
    let names: Result<BTreeSet<Identifier>, _> = order.identifiers.iter().map(|it| it.parse()).collect();
    let names = names?;
    if names != request.names {
        return Err(AcmeProblem::bad(
            "badCSR",
            "the request is to name what the order names, no more, no less",
        ));
    }
    // The policy may have become narrower since.
    if let Some(name) = names.iter().find(|it| !ca.authorities.policy().allows(it)) {
        return Err(AcmeProblem::bad("rejectedIdentifier", format!("{name} is not allowed any more")));
    }
    let account = signed.account()?;
    if crate::wire::Jwk::parse(&account.jwk).is_some_and(|it| request.has_key(&it)) {
        return Err(AcmeProblem::bad("badCSR", "the certificate's key is not to be the account's"));
    }
    let profile =
        ca.acme.config.profiles.get(&order.profile).or(ca.acme.config.profiles.get(DEFAULT_PROFILE));
    let life = profile.map_or(std::time::Duration::from_secs(3600), |it| it.life.0);
    let names: Vec<_> = names.into_iter().collect();
    let issued = ca.authorities.issue_for(&request, &names, now, life)?;
    let certificate = Certificate {
        id: new_id()?,
        serial: renewal::serial_of(&issued.der)
            .ok_or_else(|| AcmeProblem::bad("serverInternal", "no serial"))?,
        account: account.id.clone(),
        issuer: issued.issuer,
        identifiers: order.identifiers.clone(),
        chain_pem: issued.chain_pem,
        alternate_pem: issued.short_pem,
        not_before: issued.validity.not_before,
        not_after: issued.validity.not_after,
        replaced: false,
        revoked: None,
    };
    store::insert_certificate(&mut *tx, &certificate).await?;
    store::set_order_certificate(&mut *tx, &id, &certificate.id).await?;
    if let Some(old) = &order.replaces
        && !store::replace_certificate(&mut *tx, old).await?
    {
        tracing::debug!("{old} was replaced by another order meanwhile");
    }
    tx.commit().await?;
    daemon::event!(
        domain::event::CERTIFICATE_ISSUED,
        "issued {} for {} to the account {}, good until {}",
        certificate.serial,
        order.identifiers.join(", "),
        account.id,
        show_time(certificate.not_after)
    );
    order.certificate = Some(certificate.id);
    Ok(answer(&signed.base, &order, &authorizations, None, StatusCode::OK))
}

fn status(order: &Order, authorizations: &[Authorization], now: OffsetDateTime) -> OrderStatus {
    let all = authorizations.iter().map(|it| it.status);
    order_status(order.certificate.is_some(), order.expires, all, now)
}

fn answer(
    base: &Base,
    order: &Order,
    authorizations: &[Authorization],
    replaces: Option<String>,
    code: StatusCode,
) -> Response {
    let status = status(order, authorizations, now());
    let identifiers = order.identifiers.iter().filter_map(|it| it.parse::<Identifier>().ok());
    let urls = authorizations.iter().map(|it| base.url(&format!("authorization/{}", it.id)));
    let mut body = json!({
        "status": status.word(),
        "expires": show_time(order.expires),
        "identifiers": identifiers.map(|it| it.json()).collect::<Vec<_>>(),
        "profile": order.profile,
        "authorizations": urls.collect::<Vec<_>>(),
        "finalize": base.url(&format!("order/{}/finalize", order.id)),
    });
    if let Some(id) = &order.certificate {
        body["certificate"] = base.url(&format!("certificate/{id}")).into();
    }
    if let Some(replaces) = replaces {
        body["replaces"] = replaces.into();
    }
    // Why the order failed is why one of its authorizations did.
    let failed =
        authorizations.iter().find_map(|it| serde_json::from_str::<Value>(it.problem.as_deref()?).ok());
    if let (OrderStatus::Invalid, Some(problem)) = (status, failed) {
        body["error"] = problem;
    }
    let mut headers = HeaderMap::new();
    if let Ok(url) = HeaderValue::try_from(base.url(&format!("order/{}", order.id))) {
        headers.insert(header::LOCATION, url);
    }
    (code, headers, web::Json(body)).into_response()
}
