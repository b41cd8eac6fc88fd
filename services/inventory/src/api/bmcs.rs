//! Controllers and their accounts (INTERFACES 4).

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use domain::inventory::Endpoint;
use domain::{Service, Xname};
use serde::Deserialize;
use serde_json::json;
use web::{Caller, Json, Path, Query};

use super::{App, no_content};
use crate::client::Credential;
use crate::error::Error;
use crate::model::group::parse_label;
use crate::store::Insert;

/// IPMI 2.0 takes 20 bytes of password and 16 of user name, Redfish services take more.
const TEXT_MAX: usize = 128;

pub(super) async fn list(State(app): State<App>) -> Response {
    app.store.catalog.read(|it| Json(it.inventory.endpoints().collect::<Vec<_>>()).into_response())
}

fn find(app: &App, name: &str) -> Result<Endpoint, Error> {
    let missing =
        || Error::missing(format!("the inventory has no BMC {name}; pilotctl nodes list shows them"));
    let id: Xname = name.parse().map_err(|_| missing())?;
    app.store.catalog.read(|it| it.inventory.endpoint(&id).cloned()).ok_or_else(missing)
}

pub(super) async fn show(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Endpoint>, Error> {
    find(&app, &name).map(Json)
}

/// How to reach a controller; what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BmcPatch {
    address: Option<String>,
    protocol: Option<Protocol>,
    port: Option<u16>,
    cipher_suites: Option<Vec<u8>>,
    workarounds: Option<Vec<String>>,
    class: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Auto,
    Ipmi,
    Redfish,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ipmi => "ipmi",
            Self::Redfish => "redfish",
        }
    }
}

pub(super) async fn update(
    State(app): State<App>,
    Path(name): Path<String>,
    Json(patch): Json<BmcPatch>,
) -> Result<Json<Endpoint>, Error> {
    let id = find(&app, &name)?.id;
    let class = patch.class.filter(|it| !it.is_empty());
    let class = class.map(|it| parse_label(&it).ok_or_else(|| bad_scope(&it))).transpose()?;
    let mut write = app.store.write().await?;
    let mut row = write.read(|it| it.endpoint(&id)).ok_or_else(|| Error::missing(name.as_str()))?;
    row.ip_address = patch.address.or(row.ip_address);
    row.protocol = patch.protocol.map_or(row.protocol, |it| it.word().to_owned());
    row.port = patch.port.filter(|it| *it > 0).or(row.port);
    row.cipher_suites = patch.cipher_suites.or(row.cipher_suites);
    row.workarounds = patch.workarounds.unwrap_or(row.workarounds);
    row.class = class.or(row.class);
    write.put_endpoints(&[row], Insert::OrReplace).await?;
    write.commit().await?;
    find(&app, &name).map(Json)
}

/// Which class' account counts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClassQuery {
    /// None: the controller's own.
    class: Option<String>,
}

/// For the processes of power, console and discovery alone, by the uid at the other end of the socket; through the
/// gateway that is the gateway's, whatever the token. Discovery may ask for a controller before the inventory has it.
pub(super) async fn show_credential(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<ClassQuery>,
) -> Result<Response, Error> {
    let service = caller.uid.and_then(Service::of_uid);
    if !matches!(service, Some(Service::Power | Service::Console | Service::Discovery)) {
        return Err(Error::Forbidden(
            "BMC accounts are given to the services power, console and discovery alone",
        ));
    }
    let mut endpoint = match (find(&app, &name), name.parse()) {
        (Err(_), Ok(id)) if service == Some(Service::Discovery) => unknown(id),
        (found, _) => found?,
    };
    endpoint.class = query.class.or(endpoint.class);
    refresh_vault(&app).await;
    let found = app.vault.open(&endpoint)?;
    let missing = || {
        let hint = "store one with pilotctl or PUT /pilothouse/v1/bmc-credentials/default";
        Error::missing(format!("no account is stored for the BMC {}; {hint}", endpoint.id))
    };
    found.map(|it| Json(it).into_response()).ok_or_else(missing)
}

/// A controller that the inventory does not have.
fn unknown(id: Xname) -> Endpoint {
    Endpoint {
        id,
        address: None,
        protocol: Protocol::Auto.word().to_owned(),
        port: None,
        cipher_suites: None,
        workarounds: Vec::new(),
        class: None,
        nodes: Vec::new(),
        credential_version: 0,
    }
}

/// Takes the account that power has just given a BMC, and has tried; for its process alone, as above.
pub(super) async fn replace_credential(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    // Before the body is looked at: whoever may not ask hears only that.
    if caller.uid.and_then(Service::of_uid) != Some(Service::Power) {
        return Err(Error::Forbidden(
            "an account is replaced by the service power alone; PUT bmc-credentials sets one",
        ));
    }
    let endpoint = find(&app, &name)?;
    match Json::<Credential>::from_request(request, &()).await {
        Ok(Json(credential)) => store(&app, endpoint.id.as_str(), &credential).await,
        Err(problem) => Ok(problem.into_response()),
    }
}

/// Scope and user, never a secret.
pub(super) async fn list_credentials(State(app): State<App>) -> Response {
    refresh_vault(&app).await;
    let list: Vec<_> =
        app.vault.list().into_iter().map(|(scope, user)| json!({"scope": scope, "user": user})).collect();
    Json(list).into_response()
}

fn bad_scope(text: &str) -> Error {
    let hint = "write a BMC's xname, class:<name> or default";
    Error::Refused("bad-scope", format!("{text:?} is no scope of an account; {hint}"))
}

fn parse_scope(text: &str) -> Result<String, Error> {
    if text == "default" {
        return Ok(text.to_owned());
    }
    if let Some(class) = text.strip_prefix("class:") {
        return parse_label(class).map(|it| format!("class:{it}")).ok_or_else(|| bad_scope(text));
    }
    let id: Result<Xname, _> = text.parse();
    id.ok().filter(Xname::is_controller).map(|it| it.to_string()).ok_or_else(|| bad_scope(text))
}

pub(super) async fn put_credential(
    State(app): State<App>,
    Path(scope): Path<String>,
    Json(credential): Json<Credential>,
) -> Result<Response, Error> {
    let scope = parse_scope(&scope)?;
    store(&app, &scope, &credential).await
}

async fn store(app: &App, scope: &str, credential: &Credential) -> Result<Response, Error> {
    let kg = credential.kg.as_deref().unwrap_or_default();
    if [credential.user.as_str(), &credential.password, kg].iter().any(|it| it.len() > TEXT_MAX) {
        return Err(Error::Refused(
            "bad-account",
            format!("user, password and kg have at most {TEXT_MAX} bytes"),
        ));
    }
    let row = app.vault.seal(scope, credential)?;
    let mut write = app.store.write().await?;
    write.put_credential(&row).await?;
    write.commit().await?;
    reload_vault(app).await;
    Ok(no_content())
}

pub(super) async fn remove_credential(
    State(app): State<App>,
    Path(scope): Path<String>,
) -> Result<Response, Error> {
    let scope = parse_scope(&scope)?;
    let mut write = app.store.write().await?;
    if !write.delete_credential(&scope).await? {
        return Err(Error::missing(format!("no account is stored for {scope}")));
    }
    write.commit().await?;
    reload_vault(&app).await;
    Ok(no_content())
}

/// The sum of the controllers' versions: it changes when any controller's account does.
fn credential_version(app: &App) -> i64 {
    app.store.catalog.read(|it| it.inventory.endpoints().map(|it| it.credential_version).sum())
}

/// Reads the accounts again if one changed; without the database the last good copy serves.
pub(crate) async fn refresh_vault(app: &App) {
    let Ok(db) = app.store.database.pool() else { return };
    if let Err(error) = app.vault.refresh(db, credential_version(app)).await {
        tracing::debug!(%error, "the BMC accounts cannot be read again");
    }
}

/// As [`refresh_vault`], also when no controller has the account yet.
async fn reload_vault(app: &App) {
    let Ok(db) = app.store.database.pool() else { return };
    if let Err(error) = app.vault.reload(db, credential_version(app)).await {
        tracing::warn!(%error, "the BMC accounts cannot be read again");
    }
}
