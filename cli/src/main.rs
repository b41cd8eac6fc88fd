//! The program `pilotctl`: the head from the command line. Called as `get_ca_cert` or `gen_access_token` it is
//! that command of the OpenCHAMI bootcamp, called as `ochami` it is OpenCHAMI's command line.

mod audit;
mod bmc;
mod boot;
mod ca;
mod cert;
mod check;
mod cloud_init;
mod config;
mod console;
mod dhcp;
mod discover;
mod error;
mod group;
mod health;
mod image;
mod join;
mod login;
mod nodes;
mod ochami;
mod output;
mod power;
mod status;
mod support;
mod token;
mod user;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use domain::Service;
use web::Client;

use crate::error::Failure;
use crate::output::{Format, Shape};

/// Runs a cluster's head node: nodes, power, consoles, boot scripts, logs.
#[derive(Debug, Parser)]
#[command(
    name = "pilotctl",
    version,
    after_help = "Examples:
  pilotctl nodes import nodes.yaml          what the cluster consists of
  pilotctl power on 'nid[001-009]'
  pilotctl console nid001                   &. leaves
  pilotctl status

Exit status: 0 all well, 1 failed, 2 usage, 3 some nodes failed, 4 refused, 5 unreachable."
)]
struct Arguments {
    /// How to print
    #[arg(long, short, global = true, value_enum, default_value_t)]
    output: Shape,
    /// The folder of the services' sockets
    #[arg(long, global = true, env = "PILOTHOUSE_RUN", default_value = "/run/pilothouse", hide = true)]
    run: PathBuf,
    /// The configuration document
    #[arg(
        long,
        global = true,
        env = "PILOTHOUSE_CONFIG",
        default_value = "/etc/pilothouse/pilothouse.toml",
        hide = true
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What runs, and how well
    Status,
    /// What is wrong with the head, and the fixes that are safe
    Health(health::Arguments),
    /// What would keep nodes from booting, looked for before they do
    Check(check::Arguments),
    /// The configuration: show, edit, apply, confirm, roll back
    #[command(subcommand)]
    Config(config::Command),
    /// The nodes of the cluster
    #[command(subcommand)]
    Nodes(nodes::Command),
    /// Groups of nodes
    #[command(subcommand)]
    Group(group::Command),
    /// Power of nodes
    #[command(subcommand)]
    Power(power::Command),
    /// The accounts of management controllers
    #[command(subcommand)]
    Bmc(bmc::Command),
    /// Ask BMCs what they are, and which nodes are behind them
    Discover(discover::Arguments),
    /// Attach to a node's serial console
    Console(console::Arguments),
    /// The certificates of the services
    #[command(subcommand)]
    Cert(cert::Command),
    /// What a service writes to the journal
    Logs(status::LogArguments),
    /// What nodes boot
    #[command(subcommand)]
    Boot(boot::Command),
    /// Addresses: who has which, and why
    #[command(subcommand)]
    Dhcp(dhcp::Command),
    /// The images that nodes boot: import, list, verify, remove
    #[command(subcommand)]
    Image(image::Command),
    /// What nodes become: user-data, meta-data, groups
    #[command(subcommand)]
    CloudInit(cloud_init::Command),
    /// How nodes get the tokens for their secret data
    #[command(subcommand)]
    Join(join::Command),
    /// Log in at a head from another machine
    Login(login::LoginArguments),
    /// End that log-in
    Logout,
    /// Print an access token for the APIs; end tokens, and rotate the keys that sign them
    Token(token::Arguments),
    /// People who log in with a password
    #[command(subcommand)]
    User(user::UserCommand),
    /// Programs that fetch tokens or log people in
    #[command(subcommand)]
    Client(user::ClientCommand),
    /// The certificate authority: roots, the site's own PKI, who may have an ACME account
    #[command(subcommand)]
    Ca(ca::Command),
    /// Print the root certificates of the cluster
    CaCert,
    /// Who did what on this head
    #[command(subcommand)]
    Audit(audit::Command),
    /// Collect what somebody needs to see who helps from afar, in one file without secrets
    SupportBundle(support::Arguments),
    /// Print the completions of a shell
    Completions {
        /// bash, zsh, fish …
        shell: clap_complete::Shell,
    },
}

/// What every command needs.
struct Head {
    run: PathBuf,
    config: PathBuf,
    format: Format,
}

impl Head {
    fn socket(&self, service: Service) -> PathBuf {
        self.run.join(format!("{service}.sock"))
    }

    fn client(&self, service: Service) -> Client {
        Client::unix(self.socket(service))
    }

    fn document(&self) -> Result<domain::Document, Failure> {
        let text = std::fs::read_to_string(&self.config)
            .map_err(|it| Failure::failed(format!("cannot read {}: {it}", self.config.display())))?;
        domain::Document::parse(&text)
            .map_err(|it| Failure::failed(format!("{}: {it}", self.config.display())))
    }
}

fn main() -> ExitCode {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if words.first().is_some_and(|it| Path::new(it).file_name().is_some_and(|it| it == "ochami")) {
        return ochami::main(words);
    }
    let arguments = Arguments::parse_from(called_as(words));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(arguments));
            // Somebody may be asked for keys still, who is not to be waited for: such a read cannot be taken back.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::failed(format!("cannot start: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("pilotctl: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

/// The names of the bootcamp stand for commands.
fn called_as(mut arguments: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let command = match name.and_then(|it| it.to_str()) {
        Some("get_ca_cert") => "ca-cert",
        Some("gen_access_token") => "token",
        _ => return arguments,
    };
    arguments[0] = "pilotctl".into();
    arguments.insert(1, command.into());
    arguments
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let format = match arguments.output {
        Shape::Table => Format::Table,
        Shape::Json => Format::Json,
        Shape::Yaml if matches!(arguments.command, Command::Discover(_)) => Format::Table,
        Shape::Yaml => return Err(Failure::usage("only discover prints yaml; write --output json")),
    };
    let head = Head { run: arguments.run, config: arguments.config, format };
    match arguments.command {
        Command::Status => status::show(&head).await,
        Command::Health(arguments) => health::run(&head, &arguments).await,
        Command::Check(arguments) => check::run(&head, &arguments).await,
        Command::Config(command) => config::run(&head, command).await,
        Command::Nodes(command) => nodes::run(&head, command).await,
        Command::Group(command) => group::run(&head, command).await,
        Command::Power(command) => power::run(&head, command).await,
        Command::Bmc(command) => bmc::run(&head, command).await,
        Command::Discover(it) => discover::run(&head, arguments.output, it).await,
        Command::Console(arguments) => console::run(&head, arguments).await,
        Command::Cert(command) => cert::run(&head, command).await,
        Command::Logs(arguments) => status::logs(&arguments),
        Command::Boot(command) => boot::run(&head, command).await,
        Command::Dhcp(command) => dhcp::run(&head, command).await,
        Command::Image(command) => image::run(&head, command).await,
        Command::CloudInit(command) => cloud_init::run(&head, command).await,
        Command::Join(command) => join::run(&head, command).await,
        Command::Login(arguments) => login::log_in(&arguments).await,
        Command::Logout => login::log_out().await,
        Command::Token(arguments) => token::run(&head, arguments).await,
        Command::User(command) => user::run_user(&head, command).await,
        Command::Client(command) => user::run_client(&head, command).await,
        Command::Ca(command) => ca::run(&head, command).await,
        Command::CaCert => token::root_certificate(&head).await,
        Command::Audit(command) => audit::run(&head, command).await,
        Command::SupportBundle(arguments) => support::run(&head, &arguments).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "pilotctl", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Arguments, called_as};

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_names_of_the_bootcamp_are_commands() {
        let words = called_as(vec!["/usr/bin/gen_access_token".into(), "--seconds".into(), "60".into()]);
        assert_eq!(words, ["pilotctl", "token", "--seconds", "60"]);
        assert_eq!(called_as(vec!["pilotctl".into(), "status".into()]), ["pilotctl", "status"]);
    }
}
