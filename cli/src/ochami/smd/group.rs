//! `ochami smd group`.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::{filters, post, remove};
use crate::ochami::config::Service;
use crate::ochami::error::{Done, Stop, Tally};
use crate::ochami::http::{Ask, segment};
use crate::ochami::output::Output;
use crate::ochami::payload::{Payload, entries, name_of};
use crate::ochami::{Confirm, Session, log};

const PATH: &str = "/groups";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all groups, or those that match
    #[command(alias = "list")]
    Get {
        #[arg(long, value_delimiter = ',')]
        name: Vec<String>,
        #[arg(long, value_delimiter = ',')]
        tag: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Add groups
    #[command(after_help = "Examples:
  ochami smd group add -D 'The compute nodes' -m x3000c1s7b0n1,x3000c1s7b1n1 compute
  ochami smd group add -f yaml -d @groups.yaml")]
    Add {
        label: Option<String>,
        #[arg(long, short = 'D')]
        description: Option<String>,
        #[arg(long, value_delimiter = ',')]
        tag: Vec<String>,
        /// A node is in one group at most of those with this name
        #[arg(long, short)]
        exclusive_group: Option<String>,
        #[arg(long, short, value_delimiter = ',')]
        member: Vec<String>,
        #[command(flatten)]
        payload: Payload,
    },
    /// Change the description and the tags of groups
    Update {
        label: Option<String>,
        #[arg(long, short = 'D')]
        description: Option<String>,
        #[arg(long, value_delimiter = ',')]
        tag: Vec<String>,
        #[command(flatten)]
        payload: Payload,
    },
    /// Delete groups
    Delete {
        labels: Vec<String>,
        #[command(flatten)]
        payload: Payload,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Who is in a group
    #[command(subcommand)]
    Member(Member),
    /// Which groups nodes are in
    Membership(Box<Membership>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Member {
    /// Show the members
    #[command(alias = "list")]
    Get {
        label: String,
        #[command(flatten)]
        output: Output,
    },
    /// Add members
    Add {
        label: String,
        #[arg(required = true)]
        components: Vec<String>,
    },
    /// Have these members and no others
    Set {
        label: String,
        #[arg(required = true)]
        components: Vec<String>,
    },
    /// Take members out
    Delete {
        label: String,
        #[arg(required = true)]
        components: Vec<String>,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Membership {
    #[arg(long, value_delimiter = ',')]
    id: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    r#type: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    state: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    flag: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    role: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    subrole: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    softwarestatus: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    subtype: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    arch: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    class: Vec<String>,
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true)]
    nid: Vec<String>,
    #[arg(long)]
    enabled: Vec<String>,
    #[arg(long, allow_negative_numbers = true)]
    nid_start: Vec<String>,
    #[arg(long, allow_negative_numbers = true)]
    nid_end: Vec<String>,
    #[arg(long)]
    partition: Vec<String>,
    #[arg(long)]
    group: Vec<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(session: &Session, command: Command) -> Done {
    match command {
        Command::Get { name, tag, output } => {
            let ask = Ask::get(PATH).query(filters(&[("group", &name), ("tag", &tag)]));
            session.print(&session.client(Service::Smd)?.ask(ask).await?, output)
        }
        Command::Add { label, description, tag, exclusive_group, member, payload } => {
            let (description, payload) = older(label.as_deref(), description, payload);
            let list = match (payload.read(session)?, label) {
                (Some(data), _) => entries(data, "groups")?,
                (None, Some(label)) => {
                    let mut group = json!({"label": label, "description": description.unwrap_or_default()});
                    if !tag.is_empty() {
                        group["tags"] = json!(tag);
                    }
                    if let Some(exclusive) = exclusive_group {
                        group["exclusiveGroup"] = exclusive.into();
                    }
                    group["members"] = if member.is_empty() { json!({}) } else { json!({"ids": member}) };
                    vec![group]
                }
                (None, None) => return Err(Stop::usage("write the group's label, or -d")),
            };
            post(&mut session.client(Service::Smd)?, PATH, list, "groups").await
        }
        Command::Update { label, description, tag, payload } => {
            let (description, payload) = older(label.as_deref(), description, payload);
            update(session, label, description, tag, &payload).await
        }
        Command::Delete { labels, payload, confirm } => {
            let labels = match payload.read(session)? {
                Some(data) => {
                    let list = entries(data, "groups")?;
                    list.iter()
                        .map(|it| name_of(it, &["label"]).map(str::to_owned))
                        .collect::<Result<_, _>>()?
                }
                None => labels,
            };
            if labels.is_empty() {
                return Err(Stop::usage("write at least one label, or -d"));
            }
            if !confirm.ask("Really delete?")? {
                return Ok(());
            }
            remove(&mut session.client(Service::Smd)?, PATH, &labels, "groups").await
        }
        Command::Member(command) => member(session, command).await,
        Command::Membership(filter) => {
            let output = filter.output;
            let ask = Ask::get("/memberships").query(filter.query());
            session.print(&session.client(Service::Smd)?.ask(ask).await?, output)
        }
    }
}

/// In the older syntax -d is the description, of a group that is named beside it.
fn older(label: Option<&str>, description: Option<String>, payload: Payload) -> (Option<String>, Payload) {
    let is_text = payload.data.as_deref().is_some_and(|it| !it.trim_start().starts_with(['@', '{', '[']));
    if label.is_some() && description.is_none() && is_text {
        return (payload.data, Payload::default());
    }
    if label.is_some() && payload.is_given() {
        log::warning("the data are sent; the group on the command line is passed over");
    }
    (description, payload)
}

async fn update(
    session: &Session,
    label: Option<String>,
    description: Option<String>,
    tag: Vec<String>,
    payload: &Payload,
) -> Done {
    let list = match (payload.read(session)?, label) {
        (Some(data), _) => entries(data, "groups")?,
        (None, Some(label)) => {
            let mut group = json!({"label": label});
            if let Some(description) = &description {
                group["description"] = json!(description);
            }
            if !tag.is_empty() {
                group["tags"] = json!(tag);
            }
            if description.is_none() && tag.is_empty() {
                return Err(Stop::usage("write --description or --tag"));
            }
            vec![group]
        }
        (None, None) => {
            return Err(Stop::usage("write the group's label with --description or --tag, or -d"));
        }
    };
    let mut client = session.client(Service::Smd)?;
    let mut tally = Tally::default();
    for group in list {
        let path = format!("{PATH}/{}", segment(name_of(&group, &["label"])?));
        tally.count(client.ask(Ask::new(Method::PATCH, path).body(group)).await);
    }
    tally.end("groups")
}

async fn member(session: &Session, command: Member) -> Done {
    let path = |label: &str| format!("{PATH}/{}/members", segment(label));
    match command {
        Member::Get { label, output } => {
            let reply = session.client(Service::Smd)?.ask(Ask::get(path(&label))).await?;
            session.print(&reply, output)
        }
        Member::Add { label, components } => {
            let list: Vec<Value> = components.iter().map(|it| json!({"id": it})).collect();
            post(&mut session.client(Service::Smd)?, &path(&label), list, "members").await
        }
        Member::Set { label, components } => {
            let body = json!({"group": label, "ids": components});
            let ask = Ask::new(Method::PUT, path(&label)).body(body);
            session.client(Service::Smd)?.ask(ask).await.map(drop)
        }
        Member::Delete { label, components, confirm } => {
            if !confirm.ask("Really delete?")? {
                return Ok(());
            }
            remove(&mut session.client(Service::Smd)?, &path(&label), &components, "members").await
        }
    }
}

impl Membership {
    fn query(&self) -> Vec<(String, String)> {
        filters(&[
            ("id", &self.id),
            ("type", &self.r#type),
            ("state", &self.state),
            ("flag", &self.flag),
            ("role", &self.role),
            ("subrole", &self.subrole),
            ("softwarestatus", &self.softwarestatus),
            ("subtype", &self.subtype),
            ("arch", &self.arch),
            ("class", &self.class),
            ("nid", &self.nid),
            ("enabled", &self.enabled),
            ("nid_start", &self.nid_start),
            ("nid_end", &self.nid_end),
            ("partition", &self.partition),
            ("group", &self.group),
        ])
    }
}
