//! `ochami`, the command line of OpenCHAMI: its commands as of today and those of the bootcamp's time, with
//! the requests, outputs and exit statuses that people and scripts know. It speaks to the services through
//! the gateway like anyone, so it needs a token where they ask for one.

mod bss;
mod cloud_init;
mod config;
mod discover;
pub(crate) mod error;
mod http;
mod legacy;
mod log;
mod output;
mod payload;
mod pcs;
mod rcs;
mod resources;
mod settings;
mod smd;
pub(crate) mod tls;
mod token;
mod yaml;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::Value;

use self::config::{Config, Service};
use self::error::{Done, Stop};
use self::http::{Client, Reply, Token};
use self::output::{Format, Output};
use self::tls::Trust;

/// Speaks to the services of a cluster: inventory (SMD), boot scripts (BSS), cloud-init, power (PCS),
/// consoles.
#[derive(Debug, Parser)]
#[command(
    name = "ochami",
    version = concat!("version ", env!("CARGO_PKG_VERSION")),
    after_help = "Examples:
  ochami config cluster set --default demo cluster.uri https://demo.openchami.cluster:8443
  export DEMO_ACCESS_TOKEN=$(gen_access_token)
  ochami discover static -f yaml -d @nodes.yaml
  ochami smd component get -F yaml
  ochami bss boot params set --mac 02:00:00:00:00:01 --kernel http://head:8080/vmlinuz --params quiet
  ochami cloud-init group set -f yaml -d @compute.yaml

The configuration is /etc/ochami/config.yaml below ~/.config/ochami/config.yaml; a cluster's token is in
<CLUSTER>_ACCESS_TOKEN. The older syntax is understood too: -f FILE --payload-format yaml, --force, --base-uri.
Exit status: 0 all well, 1 anything else."
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Default, clap::Args)]
struct Global {
    /// The configuration, instead of the machine's and the caller's
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How messages look: rfc3339, basic or json
    #[arg(long, short = 'L', global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Which messages are shown: warning, info or debug
    #[arg(long, short = 'l', global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Whether messages are coloured: auto, on or off
    #[arg(long, global = true, value_name = "WHEN")]
    log_color: Option<String>,
    /// The cluster of the configuration
    #[arg(long, short = 'C', global = true, value_name = "NAME", conflicts_with = "cluster_uri")]
    cluster: Option<String>,
    /// The cluster's address, https://HOST:PORT
    #[arg(long, short = 'u', alias = "base-uri", global = true, value_name = "URI")]
    cluster_uri: Option<String>,
    /// The service's own address or its path below the cluster's
    #[arg(long, global = true, value_name = "URI|PATH")]
    uri: Option<String>,
    /// The root certificate that is believed, as PEM
    #[arg(long, global = true, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// The token; others see it in the list of processes, the variable they do not
    #[arg(long, short, global = true, conflicts_with = "no_token")]
    token: Option<Token>,
    /// Present no token
    #[arg(long, global = true)]
    no_token: bool,
    /// Believe any certificate
    #[arg(long, short = 'k', global = true)]
    insecure: bool,
    /// Read no configuration
    #[arg(long, global = true)]
    ignore_config: bool,
    /// Say which configuration is read
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot parameters and scripts (BSS)
    #[command(subcommand)]
    Bss(bss::Command),
    /// What nodes configure themselves by
    CloudInit(cloud_init::Arguments),
    /// The configuration of this program
    Config(settings::Arguments),
    /// Put nodes of a file into the inventory
    Discover(discover::Arguments),
    /// Power control (PCS)
    #[command(subcommand)]
    Pcs(pcs::Command),
    /// Remote consoles
    #[command(subcommand)]
    Rcs(rcs::Command),
    /// The inventory (SMD)
    #[command(subcommand)]
    Smd(smd::Command),
    /// Resources of the boot service, where a cluster has one
    Boot(resources::Boot),
    /// Resources of the metadata service, where a cluster has one
    Metadata(resources::Metadata),
    /// Print the version
    Version,
    /// Print the completions of a shell
    #[command(alias = "completions")]
    Completion {
        /// bash, zsh, fish …
        shell: clap_complete::Shell,
    },
}

/// What a command runs with.
#[derive(Debug)]
struct Session {
    global: Global,
    config: Config,
}

impl Session {
    fn start(global: Global) -> Result<Self, Stop> {
        if global.verbose {
            let files = [Some(PathBuf::from(config::SYSTEM)), config::user_file()];
            let files =
                global.config.clone().map_or_else(|| files.into_iter().flatten().collect(), |it| vec![it]);
            for file in files {
                let found = if file.exists() { "read" } else { "not there" };
                eprintln!("ochami: the configuration {} is {found}", file.display());
            }
        }
        // A named file that is missing is made by `config set`, which asks first.
        let ignore = global.ignore_config || global.config.as_ref().is_some_and(|it| !it.exists());
        let config = Config::load(global.config.as_deref(), ignore)?;
        let word = |flag: &Option<String>, key| flag.clone().unwrap_or_else(|| config.text(key).to_owned());
        log::start(
            &word(&global.log_level, "log.level"),
            &word(&global.log_format, "log.format"),
            &word(&global.log_color, "log.color"),
        )?;
        Ok(Self { global, config })
    }

    /// A client of a service that presents the token.
    fn client(&self, service: Service) -> Result<Client, Stop> {
        let mut client = self.open_client(service)?;
        client.token = token::find(self)?;
        Ok(client)
    }

    /// A client for what a service tells anyone.
    fn open_client(&self, service: Service) -> Result<Client, Stop> {
        if let Some(file) = self.global.config.as_ref().filter(|it| !it.exists()) {
            return Err(Stop::failed(format!("there is no configuration {}", file.display())));
        }
        let cluster_uri = self.global.cluster_uri.as_deref();
        let cluster = match self.config.cluster(self.global.cluster.as_deref()) {
            // The default one may be gone where it is not asked for.
            Err(_) if cluster_uri.is_some() => None,
            found => found?,
        };
        let base = config::service_uri(service, cluster, cluster_uri, self.global.uri.as_deref())?;
        let trust = Trust { file: self.global.cacert.clone(), anyone: self.global.insecure };
        Ok(Client::new(base, trust, None))
    }

    /// The format that is asked for, by flag or configuration.
    fn format(&self, output: Output) -> Format {
        let configured = || Format::find(self.config.text("default-output-format"));
        output.format.or_else(configured).unwrap_or(Format::Json)
    }

    /// Prints an answer, members sorted.
    fn print(&self, reply: &Reply, output: Output) -> Done {
        self.print_value(reply.json()?, output)
    }

    /// Prints a value, members sorted.
    fn print_value(&self, value: Value, output: Output) -> Done {
        output::print(output::text(&output::sorted(value), self.format(output)))
    }

    /// The same with a line break behind it.
    fn print_line(&self, value: Value, output: Output) -> Done {
        output::print(output::text(&output::sorted(value), self.format(output)) + "\n")
    }
}

/// Asks before something is deleted.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Confirm {
    /// Do not ask
    #[arg(long, alias = "force")]
    no_confirm: bool,
}

impl Confirm {
    /// Whether to go on.
    fn ask(self, question: &str) -> Result<bool, Stop> {
        if self.no_confirm {
            return Ok(true);
        }
        let yes = config::confirm(question)?;
        if !yes {
            log::info("nothing was deleted");
        }
        Ok(yes)
    }
}

/// Runs the command line of a process that was called as `ochami`.
pub(crate) fn main(words: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("ochami: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Arguments { global, command } = arguments;
    let done = match Session::start(global) {
        Ok(session) => runtime.block_on(run(&session, command)),
        Err(stop) => Err(stop),
    };
    // A read of standard input that is under way cannot be taken back.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            log::error(&stop);
            if stop.usage {
                eprintln!("--help behind the command says how it is written");
            }
            ExitCode::FAILURE
        }
    }
}

/// A command above others, alone, shows what there is; what makes no sense is 1, not clap's 2.
fn explain(error: &clap::Error) -> ExitCode {
    let help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::MissingSubcommand
    );
    if help {
        print!("{}", error.render());
        return ExitCode::SUCCESS;
    }
    eprint!("{}", error.render());
    ExitCode::FAILURE
}

async fn run(session: &Session, command: Command) -> Done {
    match command {
        Command::Bss(command) => bss::run(session, command).await,
        Command::CloudInit(arguments) => cloud_init::run(session, arguments).await,
        Command::Config(arguments) => settings::run(session, arguments),
        Command::Discover(arguments) => discover::run(session, arguments).await,
        Command::Pcs(command) => pcs::run(session, command).await,
        Command::Rcs(command) => rcs::run(session, command).await,
        Command::Smd(command) => smd::run(session, command).await,
        Command::Boot(arguments) => resources::run_boot(session, arguments).await,
        Command::Metadata(arguments) => resources::run_metadata(session, arguments).await,
        Command::Version => output::print(format!(
            "Version:    {}\nProgram:    Pilothouse's ochami\n",
            env!("CARGO_PKG_VERSION")
        )),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "ochami", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn both_syntaxes_are_understood() {
        for line in [
            "ochami config --system cluster set --default --base-uri https://demo:8443 demo",
            "ochami config --system set log.format basic",
            "ochami config cluster set -d demo cluster.uri https://demo:8443",
            "ochami discover --payload n.yaml --payload-format yaml --overwrite",
            "ochami discover -f n.yaml --payload-format yaml",
            "ochami discover static --overwrite -f yaml -d @n.yaml --discovery-version 1",
            "ochami smd status",
            "ochami smd service status --all",
            "ochami smd component add x1000c1s7b99n0 99 --enabled=false",
            "ochami smd group add -d text -m x1,x2 -m x3 extra",
            "ochami smd group add -D text -m x1000c1s7b99n0 extra",
            "ochami smd iface delete --force 02:00:00:00:00:99",
            "ochami bss boot params add -f bssp.yaml --payload-format yaml",
            "ochami bss boot params get -n 1,-2 -F json-pretty",
            "ochami cloud-init --secure config add --payload-format yaml -f compute-secure.yaml",
            "ochami cloud-init config update --payload-format yaml --payload test2.yaml",
            "ochami cloud-init data get --meta compute",
            "ochami cloud-init node get meta-data x1000c1s7b1n0 -F yaml",
            "ochami pcs status --all",
            "ochami pcs transition start --xname x1,x2 on",
            "ochami rcs console show -f -n 5 x1",
            "ochami boot config patch --set priority=3 uid",
            "ochami -k -C demo -l debug bss status --version",
        ] {
            let parsed = Arguments::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|it| it.to_string()).unwrap_or_default());
        }
    }
}
