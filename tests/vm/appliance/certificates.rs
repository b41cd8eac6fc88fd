//! The head's certificates as an administrator sees them: through the supervisor, and by programs that need no `-k`.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::{Appliance, settle};

/// How long the first certificates may take.
const ISSUED_MAX: Duration = Duration::from_secs(120);

/// The serial number of the gateway's certificate as `pilotctl` tells it; the supervisor has answered, or a sentence about
/// it would stand before the JSON.
fn serial(head: &Appliance) -> anyhow::Result<String> {
    let text = head.run("pilotctl cert list --output json", "")?;
    let listed: Vec<Value> = serde_json::from_str(&text).with_context(|| format!("read {text}"))?;
    let ids: Vec<&str> = listed.iter().filter_map(|it| it["id"].as_str()).collect();
    ensure!(ids == ["gateway", "gateway-front"], "{text}");
    ensure!(listed.iter().all(|it| it["last_error"].is_null()), "{text}");
    let serial = listed.get(1).and_then(|it| it["serial"].as_str()).context("no serial number")?;
    Ok(serial.replace(':', "").to_lowercase())
}

/// The one that the port shows.
fn shown(head: &Appliance) -> anyhow::Result<String> {
    let ask = "openssl s_client -connect localhost:8443 -servername demo.openchami.cluster -verify_return_error \
               </dev/null 2>/dev/null | openssl x509 -noout -serial";
    let text = head.run(ask, "")?;
    let serial = text.trim().strip_prefix("serial=").with_context(|| format!("read {text:?}"))?;
    Ok(serial.to_lowercase())
}

/// They are listed on D-Bus, renewed by the service's unit when somebody asks, and trusted on the head.
pub(super) async fn check(head: &Appliance) -> anyhow::Result<()> {
    // The gateway asks for the one with the head's names once the head's other services answer.
    let issued = settle::until(ISSUED_MAX, "the head has both certificates", async || Ok(serial(head).ok()));
    let before = issued.await.or_else(|_| serial(head))?;
    ensure!(shown(head)? == before, "the port shows another one than {before}");
    let said = head.run("pilotctl cert renew", "")?;
    ensure!(said.trim() == "gateway has new certificates", "{said}");
    let after = serial(head)?;
    ensure!(after != before, "the certificate is the old one");
    ensure!(shown(head)? == after, "the port shows another one than {after}");
    let unit = head.run("sudo journalctl --boot --quiet --unit=pilothouse-renew@gateway.service", "")?;
    ensure!(!unit.trim().is_empty(), "the unit that renews has not run");
    // A root's log-in shell has its token, and neither program needs to be told whom to trust.
    head.run("sudo -i ochami smd service status", "")?;
    let fetched = head.run("curl -sS https://demo.openchami.cluster:8443/hsm/v2/service/ready", "")?;
    ensure!(fetched.contains("code"), "{fetched}");
    Ok(())
}
