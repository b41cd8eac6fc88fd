//! `ochami bss`: boot parameters and scripts.

use clap::Subcommand;
use domain::MacAddr;
use http::Method;
use serde_json::{Value, json};

use super::config::Service;
use super::error::{Done, Stop, Tally};
use super::http::Ask;
use super::output::{self, Output};
use super::payload::Payload;
use super::{Confirm, Session, log};

const PARAMETERS: &str = "/bootparameters";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// What nodes boot
    #[command(subcommand)]
    Boot(Boot),
    /// Show all that the service knows
    Dumpstate(Output),
    /// Who fetched what, and when
    History {
        #[arg(long)]
        xname: Option<String>,
        /// bootscript or user-data
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// The nodes as the service knows them
    #[command(subcommand)]
    Hosts(Hosts),
    /// The service itself
    #[command(subcommand)]
    Service(Status),
    /// The same as `bss service status`
    #[command(hide = true)]
    Status {
        #[command(flatten)]
        of: Of,
        #[arg(long, group = "what")]
        version: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Boot {
    /// The image, by the parameter root=
    #[command(subcommand)]
    Image(Image),
    /// Kernel, initrd and the kernel's parameters
    #[command(subcommand)]
    Params(Params),
    /// The script for iPXE
    #[command(subcommand)]
    Script(Script),
}

#[derive(Debug, Subcommand)]
pub(super) enum Image {
    /// Set root= of the parameters of some nodes
    #[command(after_help = "Example:
  ochami bss boot image set --mac 00:de:ad:be:ef:00 live:https://172.16.0.254/image.squashfs")]
    Set {
        #[command(flatten)]
        targets: Targets,
        image: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Params {
    /// Show all parameters, or those of some nodes
    #[command(alias = "list")]
    Get {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        output: Output,
    },
    /// Add parameters of nodes that have none
    #[command(after_help = "Examples:
  ochami bss boot params add --mac 00:de:ad:be:ef:00 --kernel https://example.com/kernel --params 'quiet'
  ochami bss boot params add -f yaml -d @parameters.yaml")]
    Add(Parameters),
    /// Set parameters, whatever they were
    Set(Parameters),
    /// Change some of the parameters
    Update(Parameters),
    /// Delete parameters, by node or by what they are
    Delete {
        #[command(flatten)]
        parameters: Parameters,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Script {
    /// Show the script that nodes fetch
    #[command(alias = "list")]
    Get {
        #[command(flatten)]
        targets: Targets,
        /// The how manieth attempt it is
        #[arg(long)]
        retry: Option<u32>,
        /// iPXE's ${buildarch}
        #[arg(long)]
        arch: Option<String>,
        /// Seconds since 1970
        #[arg(long)]
        timestamp: Option<i64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Hosts {
    /// Show all, or one
    #[command(alias = "list")]
    Get {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Status {
    /// Whether it is well
    Status {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        output: Output,
    },
    /// Which one it is
    Version(Output),
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Of {
    /// Of all
    #[arg(long, group = "what")]
    all: bool,
    /// Of its storage
    #[arg(long, group = "what")]
    storage: bool,
    /// Of the inventory, as it sees it
    #[arg(long, group = "what")]
    smd: bool,
}

/// Which nodes.
#[derive(Debug, clap::Args)]
pub(super) struct Targets {
    #[arg(long, short, value_delimiter = ',')]
    xname: Vec<String>,
    #[arg(long, short, value_delimiter = ',')]
    mac: Vec<String>,
    #[arg(long, short, value_delimiter = ',', allow_negative_numbers = true)]
    nid: Vec<i32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    #[command(flatten)]
    targets: Targets,
    /// The kernel's URL
    #[arg(long)]
    kernel: Option<String>,
    /// The initrd's URL
    #[arg(long)]
    initrd: Option<String>,
    /// The kernel's parameters
    #[arg(long, allow_hyphen_values = true)]
    params: Option<String>,
    #[command(flatten)]
    payload: Payload,
}

impl Of {
    const fn path(self) -> &'static str {
        match self {
            Self { all: true, .. } => "/service/status/all",
            Self { storage: true, .. } => "/service/storage/status",
            Self { smd: true, .. } => "/service/hsm",
            _ => "/service/status",
        }
    }
}

impl Targets {
    fn is_empty(&self) -> bool {
        self.xname.is_empty() && self.mac.is_empty() && self.nid.is_empty()
    }

    fn query(&self) -> Vec<(String, String)> {
        let named =
            |name: &'static str, values: Vec<String>| values.into_iter().map(move |it| (name.to_owned(), it));
        let nids = self.nid.iter().map(ToString::to_string).collect();
        named("name", self.xname.clone())
            .chain(named("mac", self.mac.clone()))
            .chain(named("nid", nids))
            .collect()
    }

    fn some(&self) -> Done {
        if self.is_empty() { Err(Stop::usage("write --xname, --mac or --nid")) } else { Ok(()) }
    }
}

impl Parameters {
    /// The body, of which the flags' part is put over the data.
    fn body(&self, session: &Session, deletes: bool) -> Result<Value, Stop> {
        let data = self.payload.read(session)?;
        let some = self.kernel.is_some() || self.initrd.is_some() || self.params.is_some();
        match (&data, self.targets.is_empty(), some) {
            (Some(Value::Object(_)), ..) => {}
            (Some(_), ..) => return Err(Stop::failed("the data are not one entry of boot parameters")),
            (None, true, false) => return Err(Stop::usage("write --xname, --mac or --nid, or -d")),
            (None, true, true) if !deletes => {
                return Err(Stop::usage("write --xname, --mac or --nid, or -d"));
            }
            (None, false, false) if !deletes => {
                return Err(Stop::usage("write --kernel, --initrd or --params, or -d"));
            }
            _ => {}
        }
        let mut body = data.unwrap_or_else(|| json!({}));
        for mac in &self.targets.mac {
            mac.parse::<MacAddr>()
                .map_err(|it| Stop::usage(format!("{mac} is no MAC address")).because(it))?;
        }
        let lists = [
            ("hosts", json!(self.targets.xname)),
            ("macs", json!(self.targets.mac)),
            ("nids", json!(self.targets.nid)),
        ];
        for (member, list) in lists {
            if list.as_array().is_some_and(|it| !it.is_empty()) {
                body[member] = list;
            }
        }
        let texts = [("params", &self.params), ("kernel", &self.kernel), ("initrd", &self.initrd)];
        for (member, text) in texts {
            if let Some(text) = text {
                body[member] = json!(text);
            }
        }
        Ok(body)
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Done {
    let open = async |path: &str, query, output| {
        let reply = session.open_client(Service::Bss)?.ask(Ask::get(path).query(query)).await?;
        session.print(&reply, output)
    };
    match command {
        Command::Boot(Boot::Image(Image::Set { targets, image })) => {
            set_image(session, &targets, &image).await
        }
        Command::Boot(Boot::Params(command)) => parameters(session, command).await,
        Command::Boot(Boot::Script(Script::Get { targets, retry, arch, timestamp })) => {
            targets.some()?;
            let mut query = targets.query();
            query.extend(retry.map(|it| ("retry".to_owned(), it.to_string())));
            query.extend(arch.map(|it| ("arch".to_owned(), it)));
            query.extend(timestamp.map(|it| ("timestamp".to_owned(), it.to_string())));
            let reply = session.open_client(Service::Bss)?.ask(Ask::get("/bootscript").query(query)).await?;
            output::print(reply.text() + "\n")
        }
        Command::Dumpstate(output) => open("/dumpstate", Vec::new(), output).await,
        Command::History { xname, endpoint, output } => {
            let pairs = [("name", xname), ("endpoint", endpoint)];
            let query = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            open("/endpoint-history", query.collect(), output).await
        }
        Command::Hosts(Hosts::Get { targets, output }) => open("/hosts", targets.query(), output).await,
        Command::Service(Status::Status { of, output }) => open(of.path(), Vec::new(), output).await,
        Command::Service(Status::Version(output)) | Command::Status { version: true, output, .. } => {
            open("/service/version", Vec::new(), output).await
        }
        Command::Status { of, output, .. } => open(of.path(), Vec::new(), output).await,
    }
}

async fn parameters(session: &Session, command: Params) -> Done {
    let (method, body) = match command {
        Params::Get { targets, output } => {
            let ask = Ask::get(PARAMETERS).query(targets.query());
            return session.print(&session.client(Service::Bss)?.ask(ask).await?, output);
        }
        Params::Add(parameters) => (Method::POST, parameters.body(session, false)?),
        Params::Set(parameters) => (Method::PUT, parameters.body(session, false)?),
        Params::Update(parameters) => (Method::PATCH, parameters.body(session, false)?),
        Params::Delete { parameters, confirm } => {
            let body = parameters.body(session, true)?;
            if !confirm.ask("Really delete?")? {
                return Ok(());
            }
            (Method::DELETE, body)
        }
    };
    session.client(Service::Bss)?.ask(Ask::new(method, PARAMETERS).body(body)).await.map(drop)
}

async fn set_image(session: &Session, targets: &Targets, image: &str) -> Done {
    targets.some()?;
    let mut client = session.client(Service::Bss)?;
    let found = client.ask(Ask::get(PARAMETERS).query(targets.query())).await?.json()?;
    let entries = found.as_array().filter(|it| !it.is_empty());
    let entries =
        entries.ok_or_else(|| Stop::failed("these nodes have no boot parameters; add some first"))?;
    for (kind, wanted) in
        [("hosts", json!(targets.xname)), ("macs", json!(targets.mac)), ("nids", json!(targets.nid))]
    {
        for name in wanted.as_array().into_iter().flatten() {
            let holds = |it: &Value| it[kind].as_array().is_some_and(|it| it.contains(name));
            if !entries.iter().any(holds) {
                log::warning(format!("{name} has no boot parameters and is passed over"));
            }
        }
    }
    let mut tally = Tally::default();
    for entry in entries {
        let mut entry = entry.clone();
        entry["params"] = json!(with_root(entry["params"].as_str().unwrap_or_default(), image));
        tally.count(client.ask(Ask::new(Method::PUT, PARAMETERS).body(entry)).await);
    }
    tally.end("boot images")
}

/// The parameters with `root=image` where the first `root=` was, else at their end; quotes hold words
/// together.
fn with_root(params: &str, image: &str) -> String {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in params.chars() {
        quoted ^= letter == '"';
        if letter.is_whitespace() && !quoted {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(letter);
        }
    }
    words.push(word);
    words.retain(|it| !it.is_empty());
    let is_root = |it: &String| it.starts_with("root=");
    let place = words.iter().position(is_root);
    words.retain(|it| !is_root(it));
    words.insert(place.unwrap_or(words.len()), format!("root={image}"));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::with_root;

    #[test]
    fn the_root_is_replaced_where_it_stands() {
        for (params, wanted) in [
            ("root=live:http://h/r ip=dhcp console=ttyS0,115200", "root=new ip=dhcp console=ttyS0,115200"),
            ("quiet rootflags=ro", "quiet rootflags=ro root=new"),
            ("a root=x b root=y", "a root=new b"),
            ("a=\"b root=c\" d", "a=\"b root=c\" d root=new"),
            ("", "root=new"),
        ] {
            assert_eq!(with_root(params, "new"), wanted);
        }
    }
}
