//! Accounts of BMCs as they are used: rightly, wrongly, changed; by IPMI, by Redfish, for power and for consoles.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tests::redfish::{self, Redfish};
use tests::settle;
use tests::swarm::{self, Options, Place, Rate, Swarm};

use super::{Canary, find_none};
use crate::desk::Desk;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
/// At most 20 bytes, as IPMI has them.
const IPMI_PASSWORD: &str = "kanarie-ipmi-4d17e2";
const OTHER_PASSWORD: &str = "kanarie-not-77b0c5";
/// Two BMCs as they should be, one whose account we have wrong; the fourth speaks Redfish.
const IPMI: u32 = 3;

pub(super) struct Bmcs {
    swarm: Swarm,
    redfish: Redfish,
}

impl Bmcs {
    /// On loopback, with a node each that writes.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let options = Options {
            count: IPMI,
            place: Place::LOOPBACK,
            password: IPMI_PASSWORD.to_owned(),
            power_on: true,
            rate: Rate::PerSecond(5.0),
            ..Options::default()
        };
        let redfish = Redfish::start_at(([127, 3, 0, 4], 443).into(), 1, &[]).await?;
        Ok(Self { swarm: Swarm::start(options)?, redfish })
    }

    /// Sets their accounts, and does with them all that there is to do.
    pub(super) async fn plant(&self, desk: &Desk) -> anyhow::Result<Vec<Canary>> {
        let mut yaml = String::from("nodes:\n");
        for number in 1..=IPMI + 1 {
            let address = if number > IPMI { "127.3.0.4".to_owned() } else { format!("127.1.0.{number}") };
            writeln!(
                yaml,
                "- {{nid: {nid}, xname: x3000c0s{number}b0n0, group: compute, mac: '02:f1:ee:00:09:{number:02x}', \
                 ipaddr: 172.16.0.{ip}, bmc_mac: '02:f1:bc:00:09:{number:02x}', bmc_ipaddr: {address}}}",
                nid = 100 + number,
                ip = 200 + number,
            )?;
        }
        let told = desk.pilotctl_with(&["nodes", "import", "--inventory-only", "-"], &yaml)?;
        ensure!(told.code == 0, "{told:?}");
        let accounts = [(1, IPMI_PASSWORD), (2, IPMI_PASSWORD), (3, OTHER_PASSWORD), (4, redfish::PASSWORD)];
        for (number, password) in accounts {
            let bmc = format!("x3000c0s{number}b0");
            let protocol = if number > IPMI { "redfish" } else { "ipmi" };
            let words = ["bmc", "set", &bmc, "--user", swarm::USER, "--protocol", protocol];
            let told = desk.pilotctl_with(&words, &format!("{password}\n"))?;
            ensure!(told.code == 0, "{told:?}");
        }
        settle::until(LIMIT, "three of the four BMCs let us in", async || {
            let told = desk.pilotctl(&["power", "status", "nid[101-104]"])?;
            let lets_in =
                told.out.lines().filter(|it| it.split_whitespace().nth(1) != Some("unknown")).count();
            // A heading, and three lines.
            Ok((lets_in == 4 && told.code == 3 && told.out.contains("password")).then_some(()))
        })
        .await?;
        settle::until(LIMIT, "the consoles are open", async || {
            let seen = self.swarm.seen(1).consoles + self.swarm.seen(2).consoles;
            Ok((seen == 2).then_some(()))
        })
        .await
        .with_context(|| desk.head.tails(10))?;
        let mut canaries = vec![
            Canary::new("a password of a BMC", IPMI_PASSWORD.as_bytes()),
            Canary::new("a wrong password of a BMC", OTHER_PASSWORD.as_bytes()),
            Canary::new("the token of a Redfish session", redfish::TOKEN.as_bytes()),
        ];
        let mut answers = Vec::new();
        for (words, code) in [
            (&["power", "cycle", "nid[101-104]"][..], 3),
            (&["bmc", "rotate-password", "x3000c0s1b0", "x3000c0s4b0"][..], 0),
            (&["bmc", "rotate-password", "x3000c0s3b0"][..], 3),
            (&["bmc", "test", "x3000c0s1b0", "x3000c0s2b0", "x3000c0s3b0", "x3000c0s4b0"][..], 3),
            (&["bmc", "show", "x3000c0s4b0"][..], 0),
            (&["bmc", "list"][..], 0),
        ] {
            let told = desk.pilotctl(&[words, &["--output", "json"]].concat())?;
            ensure!(told.code == code, "{words:?}: {told:?}");
            answers.push(told.out + &told.err);
        }
        let (new, redfish) = (self.swarm.password(1), self.redfish.password());
        ensure!(new != IPMI_PASSWORD.as_bytes() && redfish != redfish::PASSWORD, "nothing was rotated");
        ensure!(self.redfish.logins() > 0, "no Redfish session was opened");
        canaries.push(Canary::new("a BMC's new password", &new));
        canaries.push(Canary::new("a BMC's new password, set by Redfish", redfish.as_bytes()));
        for answer in &answers {
            find_none(&canaries, answer.as_bytes(), || format!("an answer of pilotctl: {answer}"))?;
        }
        Ok(canaries)
    }
}
