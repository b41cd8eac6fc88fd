//! `ochami pcs`: power control.

use std::time::Duration;

use clap::Subcommand;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Session;
use super::config::Service;
use super::error::{Done, Stop};
use super::http::{Ask, segment};
use super::output::{self, Output, text};

const TRANSITIONS: &str = "/transitions";
/// What a transition may be.
const OPERATIONS: [&str; 9] =
    ["on", "off", "soft-off", "soft-restart", "hard-restart", "init", "reinit", "force-off", "force-on"];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The service itself
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Whether nodes are on
    Status(StatusArguments),
    /// Switching nodes
    #[command(subcommand)]
    Transition(Transition),
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Whether it is well
    Status {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct StatusArguments {
    #[command(subcommand)]
    command: Option<Status>,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    output: Output,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Of {
    /// Of all
    #[arg(long, conflicts_with_all = ["storage", "smd", "vault"])]
    all: bool,
    /// Of its storage
    #[arg(long)]
    storage: bool,
    /// Of the inventory, as it sees it
    #[arg(long)]
    smd: bool,
    /// Of its store of secrets
    #[arg(long)]
    vault: bool,
}

#[derive(Debug, Subcommand)]
enum Status {
    /// Of all nodes, or those that match
    List {
        #[arg(long, short, value_delimiter = ',')]
        xname: Vec<String>,
        /// on, off or undefined
        #[arg(long, short, ignore_case = true, value_parser = ["on", "off", "undefined"])]
        power_filter: Option<String>,
        /// available or unavailable
        #[arg(long, short, ignore_case = true, value_parser = ["available", "unavailable"])]
        mgmt_filter: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Of one
    Show {
        xname: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Transition {
    /// Switch nodes: on, off, soft-off, soft-restart, hard-restart, init or force-off
    #[command(after_help = "Example:
  ochami pcs transition start --xname x0c0s7b0n1,x0c0s7b0n0 on")]
    Start {
        #[arg(value_parser = OPERATIONS)]
        operation: String,
        #[arg(long, short, value_delimiter = ',', required = true)]
        xname: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show all transitions
    List(Output),
    /// Show one
    Show {
        id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Give one up
    Abort {
        id: String,
        #[command(flatten)]
        output: Output,
    },
    /// Watch one until it ends
    Monitor {
        id: String,
        /// Seconds between two looks
        #[arg(long, short, default_value_t = 1)]
        poll_interval: u64,
    },
}

pub(super) async fn run(session: &Session, command: Command) -> Done {
    match command {
        Command::Service(ServiceCommand::Status { of, output }) => service_status(session, of, output).await,
        Command::Status(StatusArguments { command: None, of, output }) => {
            service_status(session, of, output).await
        }
        Command::Status(StatusArguments { command: Some(command), .. }) => status(session, command).await,
        Command::Transition(command) => transition(session, command).await,
    }
}

async fn service_status(session: &Session, of: Of, output: Output) -> Done {
    let mut client = session.open_client(Service::Pcs)?;
    let mut shown = json!({});
    let some = of.storage || of.smd || of.vault;
    if of.all || !some {
        let word = match client.try_ask(Ask::get("/readiness")).await? {
            Ok(reply) if reply.status == StatusCode::NO_CONTENT => "ready",
            _ => {
                client.ask(Ask::get("/liveness")).await?;
                "live"
            }
        };
        shown["pcs"] = json!(word);
    }
    if of.all || some {
        let health = client.ask(Ask::get("/health")).await?.json()?;
        let parts = [
            ("storage", of.storage, "KvStore"),
            ("smd", of.smd, "StateManager"),
            ("vault", of.vault, "Vault"),
        ];
        for (name, wanted, member) in parts {
            let value = health[member].as_str().filter(|it| !it.is_empty());
            if let Some(value) = value.filter(|_| of.all || wanted) {
                shown[name] = json!(value);
            }
        }
    }
    output::print(text(&shown, session.format(output)) + "\n")
}

async fn status(session: &Session, command: Status) -> Done {
    let (xnames, power, management, output, one) = match command {
        Status::List { xname, power_filter, mgmt_filter, output } => {
            (xname, power_filter, mgmt_filter, output, false)
        }
        Status::Show { xname, output } => (vec![xname], None, None, output, true),
    };
    let mut query: Vec<_> = xnames.into_iter().map(|it| ("xname".to_owned(), it)).collect();
    query.extend(power.map(|it| ("powerStateFilter".to_owned(), it.to_lowercase())));
    query.extend(management.map(|it| ("managementStateFilter".to_owned(), it.to_lowercase())));
    let ask = Ask::get("/power-status").query(query);
    let mut found = session.client(Service::Pcs)?.ask(ask).await?.json()?;
    if one {
        found = match found["status"].get_mut(0) {
            Some(status) => status.take(),
            None => return Err(Stop::failed("nothing is known of its power")),
        };
    }
    session.print_line(found, output)
}

async fn transition(session: &Session, command: Transition) -> Done {
    let path = |id: &str| format!("{TRANSITIONS}/{}", segment(id));
    let (ask, output) = match command {
        Transition::Start { operation, xname, output } => {
            let location: Vec<Value> = xname.iter().map(|it| json!({"xname": it})).collect();
            let body = json!({"operation": operation, "taskDeadlineMinutes": null, "location": location});
            let ask = Ask::new(Method::POST, TRANSITIONS).body(body);
            let started = session.client(Service::Pcs)?.ask(ask).await?.json()?;
            let shown = json!({"TransitionID": started["transitionID"], "Operation": started["operation"]});
            return output::print(text(&shown, session.format(output)) + "\n");
        }
        Transition::List(output) => (Ask::get(TRANSITIONS), output),
        Transition::Show { id, output } => (Ask::get(path(&id)), output),
        Transition::Abort { id, output } => (Ask::delete(path(&id)), output),
        Transition::Monitor { id, poll_interval } => {
            return monitor(session, &path(&id), poll_interval).await;
        }
    };
    let answer = session.client(Service::Pcs)?.ask(ask).await?.json()?;
    session.print_line(answer, output)
}

async fn monitor(session: &Session, path: &str, poll_interval: u64) -> Done {
    let mut client = session.client(Service::Pcs)?;
    let bar = crate::output::progress("the transition begins");
    loop {
        let asked = client.ask(Ask::get(path)).await.and_then(|it| it.json());
        let found = match asked {
            Ok(found) => found,
            Err(stop) => {
                bar.finish_and_clear();
                return Err(stop);
            }
        };
        let count = |name: &str| found["taskCounts"][name].as_u64().unwrap_or_default();
        let status = found["transitionStatus"].as_str().unwrap_or_default().to_owned();
        let told = format!(
            "{status}: {} of {} done, {} failed",
            count("succeeded"),
            count("total"),
            count("failed")
        );
        bar.set_message(told.clone());
        if matches!(status.as_str(), "completed" | "aborted") {
            bar.finish_and_clear();
            return output::print(told + "\n");
        }
        tokio::time::sleep(Duration::from_secs(poll_interval.max(1))).await;
    }
}
