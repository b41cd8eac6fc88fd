//! `pilotctl cert`: the certificates of the services.

use std::collections::HashMap;

use domain::Service;
use serde_json::{Value, json};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::Head;
use crate::error::Failure;
use crate::output::{print, text};

/// Looks after the certificates of the services
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List them, with what keeps one from being renewed
    List,
    /// Have new ones now; by themselves they are renewed at two thirds of their life
    #[command(after_help = "Examples:
  pilotctl cert renew
  pilotctl cert list")]
    Renew {
        /// Whose
        #[arg(default_value = "gateway")]
        service: Service,
    },
}

const SUPERVISOR: &str = "org.pilothouse.Supervisor1";
const CERTIFICATE: &str = "org.pilothouse.Supervisor1.Certificate";

type Interfaces = HashMap<String, HashMap<String, OwnedVariant>>;

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(head).await,
        Command::Renew { service } => renew(head, service).await,
    }
}

async fn list(head: &Head) -> Result<(), Failure> {
    let certificates = match ask_supervisor().await {
        Ok(objects) => objects.values().filter_map(|it| it.get(CERTIFICATE)).map(of_properties).collect(),
        Err(error) => {
            eprintln!("pilotctl: the supervisor does not answer ({error}); reading what the services wrote");
            written(head)
        }
    };
    let mut certificates: Vec<Value> = certificates;
    certificates.sort_by_key(|it| text(it, "id"));
    let row = |it: &Value| {
        let names: Vec<_> = it["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut row = vec![text(it, "service"), text(it, "id"), names.join(" ")];
        row.extend(["issuer", "not_after", "last_error"].map(|member| text(it, member)));
        row
    };
    let rows: Vec<_> = certificates.iter().map(row).collect();
    let head_line = &["SERVICE", "ID", "NAMES", "ISSUER", "NOT AFTER", "LAST ERROR"];
    print(head.format, &json!(certificates), head_line, &rows);
    Ok(())
}

async fn ask_supervisor() -> zbus::Result<HashMap<OwnedObjectPath, Interfaces>> {
    let bus = zbus::Connection::system().await?;
    let manager = "org.freedesktop.DBus.ObjectManager";
    let path = "/org/pilothouse/Supervisor1";
    let reply = bus.call_method(Some(SUPERVISOR), path, Some(manager), "GetManagedObjects", &()).await?;
    reply.body().deserialize()
}

fn of_properties(properties: &HashMap<String, OwnedVariant>) -> Value {
    let member = |name: &str| {
        let value = properties.get(name).and_then(|it| <&str>::try_from(it).ok());
        value.filter(|it| !it.is_empty()).map_or(Value::Null, Value::from)
    };
    let names = properties.get("Names").and_then(|it| Vec::<String>::try_from(it.clone()).ok());
    json!({
        "service": member("Service"), "id": member("Id"), "names": names.unwrap_or_default(),
        "issuer": member("Issuer"), "serial": member("Serial"), "not_before": member("NotBefore"),
        "not_after": member("NotAfter"), "last_error": member("LastError"),
    })
}

/// What the services wrote, without the supervisor.
fn written(head: &Head) -> Vec<Value> {
    let of_service = |service: Service| {
        let path = head.run.join(service.name()).join("certificates.json");
        let told: Vec<Value> =
            std::fs::read(path).ok().and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default();
        told.into_iter().map(move |mut it| {
            it["service"] = service.name().into();
            it
        })
    };
    Service::ALL.into_iter().flat_map(of_service).collect()
}

async fn renew(head: &Head, service: Service) -> Result<(), Failure> {
    match ask_supervisor().await {
        Ok(objects) => {
            let is_its = |it: &Interfaces| {
                let owner = it.get(CERTIFICATE).map(|it| of_properties(it)["service"].clone());
                owner.is_some_and(|it| it == service.name())
            };
            let found = objects.iter().find(|it| is_its(it.1));
            let (path, _) = found.ok_or_else(|| {
                Failure::failed(format!("{service} has no certificate; see `pilotctl cert list`"))
            })?;
            let bus = zbus::Connection::system().await.map_err(|it| Failure::failed(it.to_string()))?;
            let asked = bus.call_method(Some(SUPERVISOR), path, Some(CERTIFICATE), "Renew", &()).await;
            asked.map_err(|error| match &error {
                zbus::Error::MethodError(name, detail, _) if name.as_str().ends_with("AccessDenied") => {
                    Failure::refused(detail.clone().unwrap_or_else(|| error.to_string()))
                }
                zbus::Error::MethodError(_, Some(detail), _) => Failure::failed(detail.clone()),
                _ => Failure::failed(error.to_string()),
            })?;
        }
        Err(error) => {
            eprintln!("pilotctl: the supervisor does not answer ({error}); asking {service} itself");
            let client = head.client(service);
            client.call::<Value>(http::Method::POST, "/pilothouse/v1/renew", None::<&()>).await?;
        }
    }
    println!("{service} has new certificates");
    Ok(())
}
