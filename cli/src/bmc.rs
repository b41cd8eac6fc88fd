//! `pilotctl bmc`.

mod password;

use axum::http::Method;
use clap::Subcommand;
use domain::Service;
use power::client::{BmcState, BmcTest, bmc, rotate_password, test_bmc, trust_bmc};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print, progress, text};

pub(crate) use password::read_password;

/// BMCs that are tried at once.
const AT_ONCE: usize = 64;

/// Management controllers: how they are reached, and their accounts.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl bmc list
  pilotctl bmc set --user admin                       for all without one of their own; asks for the password
  pilotctl bmc set x1000c1s7b1 --user admin <password.txt
  pilotctl bmc set x1000c1s7b1 --protocol redfish
  pilotctl bmc test x1000c1s7b1 x1000c1s7b2           logs in and looks; without a name, all
  pilotctl bmc rotate-password x1000c1s7b1            a new one that nobody is told, tried before it is stored")]
pub(crate) enum Command {
    /// The controllers and how they are reached
    List,
    /// How one is reached, and by which certificate it is believed
    Show {
        /// Its xname
        bmc: String,
    },
    /// Set the account, or how controllers are reached
    ///
    /// The password is read from the terminal or standard input, never from the command line.
    Set(Set),
    /// Log in, look, and log out
    Test {
        /// xnames; none: all
        bmcs: Vec<String>,
    },
    /// Give the account a new random password: set on the controller, tried, and only then stored
    RotatePassword {
        /// xnames
        #[arg(required = true)]
        bmcs: Vec<String>,
    },
    /// Believe another certificate of a controller, after you have compared it
    Trust {
        /// Its xname
        bmc: String,
        /// The certificate's SHA-256, as the controller's own web page shows it
        sha256: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// An xname, class:NAME, or default
    #[arg(default_value = "default")]
    scope: String,
    /// The account's name, at most 16 bytes by IPMI
    #[arg(long)]
    user: Option<String>,
    /// ipmi, redfish, or auto: whichever answers (of one controller)
    #[arg(long, value_parser = ["ipmi", "redfish", "auto"])]
    protocol: Option<String>,
    /// Where it listens, if not at the protocol's usual port (of one controller)
    #[arg(long)]
    port: Option<u16>,
    /// The site's word for machines alike (of one controller)
    #[arg(long)]
    class: Option<String>,
    /// What to work around, by FreeIPMI's names, with commas between them (of one controller)
    #[arg(long, value_delimiter = ',')]
    workarounds: Option<Vec<String>>,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(head).await,
        Command::Show { bmc } => show(head, &bmc).await,
        Command::Set(it) => set(head, it).await,
        Command::Test { bmcs } => test(head, bmcs).await,
        Command::RotatePassword { bmcs } => rotate(head, bmcs).await,
        Command::Trust { bmc, sha256 } => Ok(trust_bmc(&head.client(Service::Power), &bmc, &sha256).await?),
    }
}

async fn all(head: &Head) -> Result<Value, Failure> {
    Ok(head.client(Service::Inventory).get("/pilothouse/v1/bmcs").await?)
}

async fn list(head: &Head) -> Result<(), Failure> {
    let list = all(head).await?;
    let row =
        |it: &Value| ["id", "address", "protocol", "class", "nodes"].map(|member| text(it, member)).to_vec();
    let rows: Vec<_> = list.as_array().into_iter().flatten().map(row).collect();
    print(head.format, &list, &["BMC", "ADDRESS", "PROTOCOL", "CLASS", "NODES"], &rows);
    Ok(())
}

async fn show(head: &Head, name: &str) -> Result<(), Failure> {
    let mut shown: Value =
        head.client(Service::Inventory).get(&format!("/pilothouse/v1/bmcs/{name}")).await?;
    let BmcState { speaks, tls, certificate, .. } = bmc(&head.client(Service::Power), name).await?;
    shown["speaks"] = json!(speaks);
    shown["tls"] = json!(tls);
    shown["certificate"] = json!(certificate);
    let kept = |member: &str| text(&shown["certificate"], member);
    let mut rows: Vec<Vec<String>> =
        ["id", "address", "protocol", "port", "speaks", "class", "workarounds", "nodes", "tls"]
            .map(|it| vec![it.to_owned(), text(&shown, it)])
            .to_vec();
    rows.push(vec!["certificate".to_owned(), kept("sha256")]);
    rows.push(vec!["believed since".to_owned(), kept("since")]);
    print(head.format, &shown, &["WHAT", "VALUE"], &rows);
    Ok(())
}

async fn set(head: &Head, set: Set) -> Result<(), Failure> {
    let client = head.client(Service::Inventory);
    let Set { scope, user, protocol, port, class, workarounds } = set;
    let mut patch = json!({});
    for (member, value) in [
        ("protocol", json!(protocol)),
        ("port", json!(port)),
        ("class", json!(class)),
        ("workarounds", json!(workarounds)),
    ] {
        if !value.is_null() {
            patch[member] = value;
        }
    }
    let changes = patch.as_object().is_some_and(|it| !it.is_empty());
    if !changes && user.is_none() {
        return Err(Failure::usage("say what to set: --user, --protocol, --port, --class or --workarounds"));
    }
    if changes && (scope == "default" || scope.starts_with("class:")) {
        return Err(Failure::usage("how a controller is reached is set for one xname at a time"));
    }
    if let Some(user) = user {
        let password = read_password()?;
        let body = json!({"user": user, "password": *password});
        client.text(Method::PUT, &format!("/pilothouse/v1/bmc-credentials/{scope}"), Some(&body)).await?;
    }
    if changes {
        client.text(Method::PATCH, &format!("/pilothouse/v1/bmcs/{scope}"), Some(&patch)).await?;
    }
    Ok(())
}

async fn test(head: &Head, mut bmcs: Vec<String>) -> Result<(), Failure> {
    if bmcs.is_empty() {
        bmcs = all(head).await?.as_array().into_iter().flatten().map(|it| text(it, "id")).collect();
    }
    let bar = progress(format!("logging in at {} controllers", bmcs.len()));
    let client = head.client(Service::Power);
    let (mut rest, mut tries) = (bmcs.iter().cloned().enumerate(), JoinSet::new());
    let mut results: Vec<(usize, BmcTest)> = Vec::new();
    loop {
        while tries.len() < AT_ONCE
            && let Some((place, name)) = rest.next()
        {
            let client = client.clone();
            tries.spawn(async move { (place, test_bmc(&client, &name).await) });
        }
        let Some(tried) = tries.join_next().await else { break };
        let (place, tried) = tried.map_err(|it| Failure::failed(it.to_string()))?;
        results.push((place, tried?));
        bar.set_message(format!("{} of {} controllers have been tried", results.len(), bmcs.len()));
    }
    bar.finish_and_clear();
    results.sort_by_key(|it| it.0);
    let results: Vec<BmcTest> = results.into_iter().map(|it| it.1).collect();
    let row = |it: &BmcTest| {
        let state = it.state.map_or("", power::client::State::name);
        let took = format!("{} ms", it.ms);
        [it.bmc.to_string(), it.speaks.clone().unwrap_or_default(), state.to_owned(), took]
            .into_iter()
            .chain([it.error.clone().unwrap_or_default()])
            .collect()
    };
    let rows: Vec<Vec<String>> = results.iter().map(row).collect();
    print(head.format, &json!({ "results": results }), &["BMC", "SPEAKS", "POWER", "TOOK", "ERROR"], &rows);
    let failed: Vec<String> = results.iter().filter(|it| !it.ok).map(|it| it.bmc.to_string()).collect();
    end(head, &failed, results.len())
}

async fn rotate(head: &Head, bmcs: Vec<String>) -> Result<(), Failure> {
    let client = head.client(Service::Power);
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (done, name) in bmcs.iter().enumerate() {
        let bar = progress(format!("{name}: a new password, {done} of {} are done", bmcs.len()));
        let rotated = rotate_password(&client, name).await;
        bar.finish_and_clear();
        let error = match rotated {
            Ok(()) => String::new(),
            Err(error @ web::ClientError::Status { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if !error.is_empty() {
            failed.push(name.clone());
        }
        rows.push(vec![name.clone(), if error.is_empty() { "new" } else { "as before" }.to_owned(), error]);
    }
    let result = |row: &Vec<String>| match row[2].is_empty() {
        true => json!({"bmc": row[0], "ok": true}),
        false => json!({"bmc": row[0], "ok": false, "error": row[2]}),
    };
    let results: Vec<Value> = rows.iter().map(result).collect();
    print(head.format, &json!({ "results": results }), &["BMC", "PASSWORD", "ERROR"], &rows);
    end(head, &failed, bmcs.len())
}

fn end(head: &Head, failed: &[String], count: usize) -> Result<(), Failure> {
    match failed.len() {
        0 => Ok(()),
        _ if head.format == Format::Json => Err(Failure::some_nodes("")),
        some => {
            Err(Failure::some_nodes(format!("{some} of {count} controllers failed: {}", failed.join(", "))))
        }
    }
}
