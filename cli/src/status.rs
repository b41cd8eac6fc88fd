//! `pilotctl status` and `pilotctl logs`.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;

use domain::Service;
use serde_json::{Value, json};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::Head;
use crate::error::Failure;
use crate::output::{print, text};

/// Shows the journal of a service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl logs dhcp -f
  pilotctl logs boot -n 100 --node x1000c1s7b1n0")]
pub(crate) struct LogArguments {
    /// inventory, boot, cloud-init, images, dhcp, auth, ca, gateway, power, console, supervisor or postgres
    service: String,
    /// Go on as new entries come
    #[arg(long, short)]
    follow: bool,
    /// How many entries of the past
    #[arg(long, short = 'n', default_value_t = 50)]
    lines: u32,
    /// Those of one node alone, by xname
    #[arg(long)]
    node: Option<domain::Xname>,
}

type Interfaces = HashMap<String, HashMap<String, OwnedVariant>>;

/// What the supervisor says of each service; None if it does not answer.
async fn ask_supervisor() -> zbus::Result<HashMap<OwnedObjectPath, Interfaces>> {
    let bus = zbus::Connection::system().await?;
    let reply = bus
        .call_method(
            Some("org.pilothouse.Supervisor1"),
            "/org/pilothouse/Supervisor1",
            Some("org.freedesktop.DBus.ObjectManager"),
            "GetManagedObjects",
            &(),
        )
        .await?;
    reply.body().deserialize()
}

pub(crate) async fn show(head: &Head) -> Result<(), Failure> {
    let asked = ask_supervisor().await;
    if let Err(error) = &asked {
        eprintln!("pilotctl: the supervisor does not answer ({error}); asking the services themselves");
    }
    let objects = asked.unwrap_or_default();
    let mut services = Vec::new();
    let mut unwell = 0;
    for service in Service::ALL {
        let known = objects.values().find_map(|it| {
            let it = it.get("org.pilothouse.Supervisor1.Service")?;
            (property(it, "Name") == service.name()).then_some(it)
        });
        let member = |name: &str| known.map(|it| property(it, name)).unwrap_or_default();
        let ready = head.client(service).get::<Value>("/readyz").await;
        let answers = ready.is_ok();
        unwell += u32::from(!answers);
        services.push(json!({
            "service": service.name(), "state": member("State"), "sub_state": member("SubState"),
            "health": member("Health"), "restarts": member("Restarts"), "answers": answers,
            "detail": ready.as_ref().map_or_else(|it| json!(it.to_string()), Clone::clone),
        }));
    }
    let rows: Vec<_> = services
        .iter()
        .map(|it| {
            let detail = match &it["detail"] {
                Value::Object(members) => {
                    let words = members.iter().filter(|it| it.0 != "ready").map(|(key, value)| {
                        format!("{key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                    });
                    words.collect::<Vec<_>>().join(", ")
                }
                other => other.as_str().unwrap_or_default().to_owned(),
            };
            let answers = if it["answers"] == true { "yes" } else { "NO" };
            let mut row =
                ["service", "state", "sub_state", "restarts"].map(|member| text(it, member)).to_vec();
            row.extend([answers.to_owned(), detail]);
            row
        })
        .collect();
    print(
        head.format,
        &json!(services),
        &["SERVICE", "STATE", "SUB", "RESTARTS", "ANSWERS", "DETAIL"],
        &rows,
    );
    match unwell {
        0 => Ok(()),
        1 => Err(Failure::failed("1 service does not answer; `pilotctl logs SERVICE` shows why")),
        _ => Err(Failure::failed(format!(
            "{unwell} services do not answer; `pilotctl logs SERVICE` shows why"
        ))),
    }
}

fn property(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    let Some(value) = properties.get(name) else { return String::new() };
    let number = || u64::try_from(value).or_else(|_| u32::try_from(value).map(u64::from));
    <&str>::try_from(value)
        .map(str::to_owned)
        .or_else(|_| number().map(|it| it.to_string()))
        .unwrap_or_default()
}

/// Becomes journalctl, which does this best.
pub(crate) fn logs(arguments: &LogArguments) -> Result<(), Failure> {
    let mut units: Vec<String> = Service::ALL.iter().map(|it| it.unit()).collect();
    units.extend(["supervisor", "postgres", "firstboot"].map(|it| format!("pilothouse-{it}.service")));
    let unit = format!("pilothouse-{}.service", arguments.service);
    if !units.contains(&unit) {
        return Err(Failure::usage(format!("{} is no service; see `pilotctl status`", arguments.service)));
    }
    let mut journal = std::process::Command::new("/usr/bin/journalctl");
    journal.args(["--unit", &unit, "--lines", &arguments.lines.to_string()]);
    if arguments.follow {
        journal.arg("--follow");
    }
    if let Some(node) = &arguments.node {
        journal.arg(format!("PILOTHOUSE_NODE={node}"));
    }
    Err(Failure::failed(format!("cannot run journalctl: {}", journal.exec())))
}
