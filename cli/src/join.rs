//! `pilotctl join`: how nodes get their tokens.

use std::io::Read as _;
use std::path::PathBuf;

use ::join::client::{self, Standing};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use domain::{Service, Span};
use serde_json::json;

use crate::Head;
use crate::error::Failure;
use crate::output::print;
use crate::power::expand;

/// The longest file that holds a key or a certificate.
const FILE_MAX: u64 = 32 << 10;

/// Who gets a token for its secret data, and by which way.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  pilotctl join list
  pilotctl join open nid001 --for 10m             its next boot, however it is switched on, may fetch a nonce
  pilotctl join key >>authorized_keys             what root needs on nodes with the policy push
  pilotctl join enroll nid001 --ek ek.pem         the endorsement key of its TPM
  pilotctl join enroll nid001 --host-keys keys    its SSH host keys, instead of those it reports

The policies are in the document: [join] policy = { compute = \"push\", login = \"tpm\", default = \"none\" }")]
pub(crate) enum Command {
    /// How it stands with each node
    List,
    /// Open nodes' windows
    Open {
        /// Names, xnames or lists such as 'nid[001-009]'
        #[arg(required = true)]
        nodes: Vec<String>,
        /// For how long [default: join.window of the document]
        #[arg(long = "for", value_name = "TIME")]
        time: Option<Span>,
    },
    /// Close nodes' windows
    Close {
        /// Names, xnames or lists
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Print the public key that tokens are pushed with
    Key,
    /// Say by what a node is known
    Enroll {
        /// Its name or xname
        node: String,
        #[command(flatten)]
        what: What,
    },
    /// Forget by what a node is known
    Forget {
        /// Its name or xname
        node: String,
        /// ek or host-keys
        kind: String,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// The endorsement key of its TPM: PEM or DER, a key or a certificate, or the file of tpm2_createek; - for input
    #[arg(long, value_name = "FILE")]
    ek: Option<PathBuf>,
    /// The public host keys of its SSH server, one a line; - for input
    #[arg(long, value_name = "FILE")]
    host_keys: Option<PathBuf>,
}

pub(crate) async fn run(head: &Head, command: Command) -> Result<(), Failure> {
    let join = head.client(Service::Join);
    match command {
        Command::List => list(head).await,
        Command::Open { nodes, time } => {
            for node in expand(&nodes)? {
                client::open(&join, &node, time.map(|it| it.0.as_secs())).await?;
            }
            Ok(())
        }
        Command::Close { nodes } => {
            for node in expand(&nodes)? {
                client::close(&join, &node).await?;
            }
            Ok(())
        }
        Command::Key => {
            println!("{}", client::key(&join).await?);
            Ok(())
        }
        Command::Enroll { node, what } => {
            let (kind, file) = match (what.ek, what.host_keys) {
                (Some(file), _) => ("ek", file),
                (None, Some(file)) => ("host-keys", file),
                (None, None) => return Err(Failure::usage("give --ek FILE or --host-keys FILE")),
            };
            let body = json!({"content": STANDARD.encode(read(&file)?)});
            let path = format!("/pilothouse/v1/enrolments/{node}/{kind}");
            Ok(join.text(Method::PUT, &path, Some(&body)).await.map(drop)?)
        }
        Command::Forget { node, kind } => {
            let path = format!("/pilothouse/v1/enrolments/{node}/{kind}");
            Ok(join.text(Method::DELETE, &path, None::<&()>).await.map(drop)?)
        }
    }
}

async fn list(head: &Head) -> Result<(), Failure> {
    let all = client::list(&head.client(Service::Join)).await?;
    let row = |it: &Standing| {
        let policy = format!("{:?}", it.policy).to_lowercase();
        let window = it.window.clone().unwrap_or_default();
        let pushing = if it.pushing { "yes" } else { "" };
        let (until, enrolled) = (it.until.clone().unwrap_or_default(), it.enrolled.join(", "));
        vec![it.name.clone(), policy, window, until, enrolled, pushing.to_owned()]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    print(head.format, &json!(all), &["NODE", "POLICY", "WINDOW", "UNTIL", "ENROLLED", "PUSHING"], &rows);
    Ok(())
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let failed = |it: std::io::Error| Failure::failed(format!("cannot read {}: {it}", path.display()));
    let mut content = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(FILE_MAX).read_to_end(&mut content)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(FILE_MAX).read_to_end(&mut content)
    };
    read.map_err(failed)?;
    Ok(content)
}
