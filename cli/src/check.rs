//! `pilotctl check`: what would keep nodes from booting, looked for before they do.
//!
//! Each check is a function that asks somebody, and a function that decides what the answer means; a finding names the
//! thing and the next step.

mod bmcs;
mod clocks;
mod names;
mod wires;

use clap::ValueEnum;
use domain::Service;
use inventory::client::InventoryClient;
use serde::Serialize;

use crate::Head;
use crate::error::Failure;
use crate::output::{Format, cell, progress};

/// Looks for what would keep nodes from booting: other DHCP servers, spanning tree, packet sizes, closed ports, clocks,
/// names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pilotctl check
  pilotctl check --only names,clocks

On node and BMC planes it asks for an address to find other DHCP servers, and takes none.
Exit status: 0 nothing stands in the way, 3 something does.")]
pub(crate) struct Arguments {
    /// These alone
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Check>,
    /// How long to listen on the wires, 1 to 8 seconds; switches speak every two
    #[arg(long, default_value_t = 5)]
    seconds: u8,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Check {
    /// Links, other DHCP servers, spanning tree, packet sizes
    Wires,
    /// Names and addresses of the document
    Names,
    /// The head's clock, by its time servers
    Clocks,
    /// Management controllers: whether they answer, and their clocks
    Bmcs,
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    check: Check,
    /// Which thing.
    about: String,
    /// What is wrong with it; none: nothing.
    problem: Option<String>,
    /// What to do about it.
    next: Option<String>,
}

impl Finding {
    fn well(check: Check, about: impl Into<String>) -> Self {
        Self { check, about: about.into(), problem: None, next: None }
    }

    fn bad(
        check: Check,
        about: impl Into<String>,
        problem: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { problem: Some(problem.into()), next: Some(next.into()), ..Self::well(check, about) }
    }
}

pub(crate) async fn run(head: &Head, arguments: &Arguments) -> Result<(), Failure> {
    if !(1..=8).contains(&arguments.seconds) {
        return Err(Failure::usage("--seconds: write 1 to 8"));
    }
    let document = head.document()?;
    let wanted = |check| arguments.only.is_empty() || arguments.only.contains(&check);
    let mut findings = Vec::new();
    if wanted(Check::Names) {
        findings.extend(turning("names and addresses of the document", names::look(&document)).await);
    }
    if wanted(Check::Clocks) {
        findings.extend(turning("time servers", clocks::look(&document.network.ntp)).await);
    }
    let controllers = async {
        let client = InventoryClient::new(head.client(Service::Inventory));
        client.list_bmcs().await.unwrap_or_else(|error| {
            eprintln!(
                "pilotctl: the inventory does not answer ({error}); management controllers are left out"
            );
            Vec::new()
        })
    };
    let controllers =
        if wanted(Check::Bmcs) || wanted(Check::Wires) { controllers.await } else { Vec::new() };
    if wanted(Check::Wires) {
        let dhcp = dhcp::client::Client::new(head.client(Service::Dhcp));
        match turning("wires", dhcp.probe(arguments.seconds)).await {
            Ok(nics) => {
                let found =
                    turning("packets of full size", wires::look(&nics, &document, &controllers)).await;
                findings.extend(found);
            }
            Err(error) => {
                let next = "see why: pilotctl logs dhcp";
                findings.push(Finding::bad(Check::Wires, "dhcp", format!("it cannot look: {error}"), next));
            }
        }
    }
    if wanted(Check::Bmcs) {
        findings.extend(turning("management controllers", bmcs::look(&controllers)).await);
    }
    match head.format {
        Format::Json => println!("{:#}", serde_json::json!(findings)),
        Format::Table => print!("{}", shown(&findings)),
    }
    let bad = findings.iter().filter(|it| it.problem.is_some()).count();
    match bad {
        0 => Ok(()),
        1 => Err(Failure::some_nodes("1 thing stands in the way")),
        _ => Err(Failure::some_nodes(format!("{bad} things stand in the way"))),
    }
}

/// Work with a turning wheel.
async fn turning<T>(message: &str, work: impl Future<Output = T>) -> T {
    let wheel = progress(message.to_owned());
    let done = work.await;
    wheel.finish_and_clear();
    done
}

/// For people: a line for each thing, and below it the next step; of many that are well the number.
fn shown(findings: &[Finding]) -> String {
    let mut text = String::new();
    for check in [Check::Wires, Check::Names, Check::Clocks, Check::Bmcs] {
        let word = format!("{check:?}").to_lowercase();
        let of_check = || findings.iter().filter(|it| it.check == check);
        let well: Vec<_> = of_check().filter(|it| it.problem.is_none()).collect();
        if well.len() > 10 {
            text += &format!("ok   {word:7} {} of {}\n", well.len(), of_check().count());
        } else {
            well.iter().for_each(|it| text += &format!("ok   {word:7} {}\n", cell(&it.about)));
        }
        for finding in of_check() {
            if let (Some(problem), Some(next)) = (&finding.problem, &finding.next) {
                text += &format!("BAD  {word:7} {}: {}\n", cell(&finding.about), cell(problem));
                text += &format!("             {}\n", cell(next));
            }
        }
    }
    if text.is_empty() { "there is nothing to look at yet\n".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::{Check, Finding, shown};

    #[test]
    fn each_finding_names_the_thing_and_the_next_step() {
        let bad = Finding::bad(Check::Names, "ntp.example", "it does not resolve", "correct network.ntp");
        let text = shown(&[Finding::well(Check::Wires, "eth1"), bad]);
        let expected = "ok   wires   eth1\nBAD  names   ntp.example: it does not resolve\n             correct network.ntp\n";
        assert_eq!(text, expected);
        let many: Vec<_> = (0..11).map(|it| Finding::well(Check::Bmcs, format!("x0c0s{it}b0"))).collect();
        assert_eq!(shown(&many), "ok   bmcs    11 of 11\n");
    }
}
