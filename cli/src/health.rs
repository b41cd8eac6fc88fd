//! `pilotctl health`: what is wrong with the head, and the fixes that are safe.

use std::collections::{BTreeSet, HashMap};

use domain::Service;
use serde_json::{Value, json};
use zbus::{Connection, DBusError as _, OwnedObjectPath, OwnedVariant};

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, cell, text};

/// Shows what is wrong, the worst first, each with what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl health
  pilotctl health --fix                     carry out the fixes that are named
  pilotctl health --nagios                  for monitoring: one line, status 0, 1, 2 or 3

Exit status: 0 nothing is wrong, 1 something is or a fix failed, 4 refused.")]
pub(crate) struct Arguments {
    /// Carry out the fixes that are named; each is safe, and nodes boot on meanwhile
    #[arg(long, conflicts_with = "nagios")]
    fix: bool,
    /// One line with figures, and the exit status of a plugin: 0 well, 1 warning, 2 critical, 3 unknown
    #[arg(long)]
    nagios: bool,
    /// Have everything looked at first, PostgreSQL too
    #[arg(long)]
    now: bool,
}

const SUPERVISOR: &str = "org.pilothouse.Supervisor1";
const ROOT: &str = "/org/pilothouse/Supervisor1";
const HEALTH: &str = "org.pilothouse.Supervisor1.Health";
const ISSUE: &str = "org.pilothouse.Supervisor1.Issue";
/// The words of a severity, the least first.
const SEVERITIES: [&str; 4] = ["info", "warning", "error", "critical"];

type Properties = HashMap<String, OwnedVariant>;
type Objects = HashMap<OwnedObjectPath, HashMap<String, Properties>>;

pub(crate) async fn run(head: &Head, arguments: &Arguments) -> Result<(), Failure> {
    let bus = Connection::system().await;
    let (issues, answers) = match find(bus.as_ref().ok(), arguments.now).await {
        Ok(issues) => (issues, true),
        Err(error) => {
            let mut issues = written(head);
            issues.push(unreachable(&error));
            (issues, false)
        }
    };
    if arguments.nagios {
        let (code, line) = nagios(&issues, answers);
        println!("{line}");
        return if code == 0 { Ok(()) } else { Err(Failure { code, message: String::new() }) };
    }
    let mut issues = issues;
    let mut failed = None;
    if let (true, Ok(bus)) = (arguments.fix && answers, &bus) {
        failed = fix_all(bus, &issues).await.err();
        issues = find(Some(bus), false).await.map_err(|it| Failure::failed(it.to_string()))?;
    }
    match head.format {
        Format::Json => println!("{:#}", json!(issues)),
        Format::Table => print!("{}", shown(&issues)),
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    let bad = issues.iter().filter(|it| level(it) > 0).count();
    if bad == 0 { Ok(()) } else { Err(Failure { code: 1, message: String::new() }) }
}

/// What the supervisor shows, the worst first.
async fn find(bus: Option<&Connection>, now: bool) -> zbus::Result<Vec<Value>> {
    let bus = bus.ok_or_else(|| zbus::Error::Failure("there is no system bus".to_owned()))?;
    if now {
        bus.call_method(Some(SUPERVISOR), ROOT, Some(HEALTH), "Check", &()).await?;
    }
    let manager = Some("org.freedesktop.DBus.ObjectManager");
    let reply = bus.call_method(Some(SUPERVISOR), ROOT, manager, "GetManagedObjects", &()).await?;
    let objects: Objects = reply.body().deserialize()?;
    let issues = objects.iter().filter_map(|(path, it)| Some(of_properties(path, it.get(ISSUE)?)));
    Ok(sorted(issues.collect()))
}

fn of_properties(path: &OwnedObjectPath, properties: &Properties) -> Value {
    let word = |name: &str| {
        properties.get(name).and_then(|it| <&str>::try_from(it).ok()).unwrap_or_default().to_owned()
    };
    let context: Value = serde_json::from_str(&word("Context")).unwrap_or_default();
    let fix = Some(word("FixVerb")).filter(|it| !it.is_empty());
    json!({
        "id": word("Id"), "kind": word("Kind"), "source": word("Source"), "severity": word("Severity"),
        "since": word("Since"), "summary": word("Summary"), "suggestion": word("Suggestion"), "fix": fix,
        "context": context, "message_id": word("MessageId"), "path": path.as_str(),
    })
}

/// What the services wrote, without the supervisor.
fn written(head: &Head) -> Vec<Value> {
    let of_service = |service: Service| {
        let path = head.run.join(service.name()).join("issues.json");
        let told: Vec<Value> =
            std::fs::read(path).ok().and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default();
        let known = told.into_iter().filter(|it| it["severity"].is_string());
        known.map(move |mut it| {
            it["source"] = service.name().into();
            it
        })
    };
    sorted(Service::ALL.into_iter().flat_map(of_service).collect())
}

fn unreachable(error: &zbus::Error) -> Value {
    json!({
        "id": "supervisor-unreachable", "kind": "supervisor-unreachable", "source": "pilotctl",
        "severity": "error", "since": Value::Null, "fix": Value::Null, "context": {},
        "summary": format!("the supervisor does not answer ({error}); only what the services say is known"),
        "suggestion": "see why: systemctl status pilothouse-supervisor; nodes boot on without it",
    })
}

fn level(issue: &Value) -> usize {
    let word = issue["severity"].as_str().unwrap_or_default();
    SEVERITIES.iter().position(|it| *it == word).unwrap_or(1)
}

fn sorted(mut issues: Vec<Value>) -> Vec<Value> {
    issues.sort_by_key(|it| (std::cmp::Reverse(level(it)), text(it, "id")));
    issues
}

/// For people: three lines for each.
fn shown(issues: &[Value]) -> String {
    if issues.is_empty() {
        return "nothing is wrong\n".to_owned();
    }
    let mut lines = String::new();
    for issue in issues {
        let word = |member: &str| cell(&text(issue, member));
        lines += &format!("{:8}  {}  since {}\n", word("severity"), word("id"), word("since"));
        lines += &format!("          {}\n", word("summary"));
        lines += &format!("          {}\n", word("suggestion"));
        if issue["fix"].is_string() {
            lines += &format!("          fix: {}\n", word("fix"));
        }
    }
    lines
}

/// The line of a monitoring plugin, and its exit status.
fn nagios(issues: &[Value], answers: bool) -> (u8, String) {
    let counts = [0, 1, 2, 3].map(|at| issues.iter().filter(|it| level(it) == at).count());
    let found = issues.iter().filter(|it| answers || it["source"] != "pilotctl");
    let worst = found.map(level).max().unwrap_or(0);
    let (code, word) = match (worst, answers) {
        (2.., _) => (2, "CRITICAL"),
        (_, false) => (3, "UNKNOWN"),
        (1, true) => (1, "WARNING"),
        _ => (0, "OK"),
    };
    // `|` ends the text of a plugin, and the figures begin.
    let first = issues.iter().find(|it| level(it) > 0).map(|it| cell(&text(it, "summary")).replace('|', "/"));
    let says = first.unwrap_or_else(|| "nothing is wrong".to_owned());
    let more = counts[1..].iter().sum::<usize>().saturating_sub(1);
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    let figures = ["info", "warning", "error", "critical"];
    let figures: Vec<_> = figures.iter().zip(counts).map(|(name, it)| format!("{name}={it};;;0")).collect();
    (code, format!("PILOTHOUSE {word} - {says}{more} | {}", figures.join(" ")))
}

/// Carries out each fix once.
async fn fix_all(bus: &Connection, issues: &[Value]) -> Result<(), Failure> {
    let mut done = BTreeSet::new();
    let mut failure = None;
    for issue in issues {
        let (Some(verb), Some(path)) = (issue["fix"].as_str(), issue["path"].as_str()) else { continue };
        // One vacuum is for all databases.
        let target = ["unit", "service"].iter().find_map(|it| issue["context"][*it].as_str());
        let target = if verb == "vacuum" { "" } else { target.unwrap_or_default() };
        if !done.insert(format!("{verb} {target}").trim_end().to_owned()) {
            continue;
        }
        let what = cell(format!("{verb} {target}").trim_end());
        match bus.call_method(Some(SUPERVISOR), path, Some(ISSUE), "Fix", &()).await {
            Ok(_) => eprintln!("{what}: done"),
            Err(error) => {
                let (name, detail) = told(&error);
                let text = format!("{what}: {detail}");
                if name.ends_with("AccessDenied") {
                    failure.get_or_insert(Failure::refused(text));
                } else if !is_gone(&name) {
                    failure.get_or_insert(Failure::failed(text));
                }
            }
        }
    }
    if done.is_empty() {
        eprintln!("nothing here has a fix that is safe; see the suggestions");
    }
    failure.map_or(Ok(()), Err)
}

/// The error's name on the bus, and what it says.
fn told(error: &zbus::Error) -> (String, String) {
    match error {
        zbus::Error::MethodError(name, detail, _) => {
            (name.to_string(), detail.clone().unwrap_or_else(|| name.to_string()))
        }
        // Those of D-Bus itself.
        zbus::Error::FDO(error) => {
            (error.name().to_string(), error.description().unwrap_or_default().to_owned())
        }
        other => (String::new(), other.to_string()),
    }
}

/// Whether the bus says that there is no such object: another fix has solved it meanwhile.
fn is_gone(error: &str) -> bool {
    ["UnknownObject", "UnknownInterface", "UnknownMethod"].iter().any(|it| error.ends_with(it))
}

#[cfg(test)]
mod tests;
