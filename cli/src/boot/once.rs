//! `pilotctl boot once`.

use boot::client::{OnceOutcome, OnceWish};
use serde_json::json;

use super::client;
use crate::Head;
use crate::error::Failure;
use crate::output::{Format, print};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is not named is as the node would boot now. It holds until the node has loaded all of it and \
is about to start the kernel: a boot that fails before that gets it again, also after a restart of the head.

Examples:
  pilotctl boot once nid001 --image rescue:latest
  pilotctl boot once 'nid[001-009]' --params 'console=ttyS0,115200 systemd.unit=rescue.target'
  pilotctl boot once nid001 --kernel http://172.16.0.254:8080/memtest.bin --params ''
  pilotctl boot once nid001 --local-disk
  pilotctl boot once nid001 --clear
  pilotctl boot once                             lists what is still to be booted once"
)]
pub(crate) struct Arguments {
    /// Names, xnames, lists such as 'nid[001-009]', or MAC addresses; none lists
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// An image: name:tag, a name alone for its tag latest, or sha256:…
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["kernel", "initrd", "local_disk"])]
    image: Option<String>,
    /// The kernel's URL; without --initrd it has none
    #[arg(long, value_name = "URL", conflicts_with = "local_disk")]
    kernel: Option<String>,
    /// The initrd's URL
    #[arg(long, value_name = "URL", conflicts_with = "local_disk")]
    initrd: Option<String>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    params: Option<String>,
    /// The node's own disk
    #[arg(long)]
    local_disk: bool,
    /// Take it back
    #[arg(long, conflicts_with_all = ["image", "kernel", "initrd", "params", "local_disk"])]
    clear: bool,
}

/// `rescue` is `rescue:latest`.
pub(super) fn with_tag(image: &str) -> String {
    if image.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

pub(crate) async fn run(head: &Head, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { nodes, image, kernel, initrd, params, local_disk, clear } = arguments;
    let boot = client(head);
    let wished = image.is_some() || kernel.is_some() || initrd.is_some() || params.is_some() || local_disk;
    if nodes.is_empty() {
        if wished || clear {
            return Err(Failure::usage("name at least one node"));
        }
        return list(head).await;
    }
    let nodes = crate::power::expand(&nodes)?;
    let outcomes = if clear {
        boot.remove_once(&nodes).await?
    } else if wished {
        let image = image.map(|it| with_tag(&it));
        boot.replace_once(&OnceWish { nodes, kernel, initrd, params, image, local_disk }).await?
    } else {
        return Err(Failure::usage(
            "say what to boot: --image, --kernel, --params or --local-disk; or --clear",
        ));
    };
    tell(head, &outcomes, if clear { "as always" } else { "once" })
}

async fn list(head: &Head) -> Result<(), Failure> {
    let all = client(head).once().await?;
    let rows: Vec<_> = all
        .iter()
        .map(|it| {
            vec![
                it.node.to_string(),
                it.image.clone(),
                it.kernel.clone(),
                it.initrd.clone(),
                it.params.clone(),
            ]
        })
        .collect();
    print(head.format, &json!(all), &["NODE", "IMAGE", "KERNEL", "INITRD", "PARAMS"], &rows);
    Ok(())
}

fn tell(head: &Head, outcomes: &[OnceOutcome], word: &str) -> Result<(), Failure> {
    let rows: Vec<_> = outcomes
        .iter()
        .map(|it| {
            let boots = if it.ok { word } else { "unchanged" };
            vec![it.node.clone(), boots.to_owned(), it.error.clone().unwrap_or_default()]
        })
        .collect();
    print(head.format, &json!({"results": outcomes}), &["NODE", "BOOTS", "ERROR"], &rows);
    match outcomes.iter().filter(|it| !it.ok).count() {
        0 => Ok(()),
        _ if head.format == Format::Json => Err(Failure::some_nodes("")),
        failed => Err(Failure::some_nodes(format!("{failed} of {} nodes are unchanged", outcomes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::with_tag;

    #[test]
    fn an_image_without_a_tag_is_its_latest() {
        assert_eq!(with_tag("rescue"), "rescue:latest");
        assert_eq!(with_tag("rescue:1"), "rescue:1");
        assert_eq!(with_tag("sha256:00"), "sha256:00");
    }
}
