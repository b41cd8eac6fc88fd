//! The first boot of the head image: without an answer it asks, with a wrong one it stops.

mod doors;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Document;
use domain::document::Answer;
use tests::appliance::{self, ADDRESS, ADMIN, MAC};
use tests::program::is_whole;
use tests::steps::Steps;
use tests::{Appliance, Keyboard, Net, bmc, lab, net, settle};

/// From power on to the first question: firmware, kernel and Debian under TCG on two busy cores.
const BOOT_MAX: Duration = Duration::from_secs(240);
/// From an answer to the next question.
const PROMPT_MAX: Duration = Duration::from_secs(30);
/// From `yes` to the head that is set up: `initdb` is most of it.
const APPLY_MAX: Duration = Duration::from_secs(240);
/// From there to the end of the boot.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// The lab's own place on the network, from which an administrator works.
const DESK: &str = "172.16.0.253/24";
/// What every console shows while nobody answers.
const BEGIN: &str = "Press Enter to answer the questions on this console: ";
/// What is open once the head is set up; planes have no IPv6, so that brings no more than SSH.
const OPEN: [&str; 7] = ["tcp 22", "tcp 22 (IPv6)", "tcp 8080", "tcp 8081", "tcp 8443", "udp 67", "udp 69"];

/// The interview by a person at the serial line, and that it ends where the answer file of the demo does.
#[test]
fn a_person_sets_the_head_up_on_the_serial_line() {
    lab::test_aloud("setup::a_person_sets_the_head_up_on_the_serial_line", async |folder| {
        let mut steps = Steps::begin();
        let net = Net::up(&folder)?;
        net.add_address(DESK)?;
        let mut head = Appliance::wire(&net, &folder, None, None)?;
        head.start()?;
        let mut person = head.keyboard().await?;
        person.wait_for(BEGIN, BOOT_MAX).await?;
        steps.reach("head", "asks");
        expect_open(&[]).await?;
        steps.reach("head", "is silent on the network");
        let headless = appliance::answer(&folder)?;
        answer_questions(&mut person, &public_key(&folder)?).await?;
        steps.reach("head", "has its answers");
        // Still nothing is changed: the last word is `yes`.
        expect_open(&[]).await?;
        person.send_line("yes").await?;
        let end = r"The head is set up\.|could not be applied:.*";
        let end = person.wait_for(end, APPLY_MAX).await?;
        ensure!(end.starts_with("The head"), "{end}\n{}", head.console().tail(30));
        steps.reach("head", "is set up");
        person.wait_for(&format!("ssh {ADMIN}@{ADDRESS}"), PROMPT_MAX).await?;
        check_state(&head).await?;
        steps.reach("head", "pilothouse.target");
        expect_open(&OPEN).await?;
        check_document(&head, &headless)?;
        check_passwords(&head)?;
        check_order(&head)?;
        check_secrets(&head)?;
        person.wait_for("demo-head login: ", SETTLE_MAX).await?;
        steps.reach("head", "login:");
        eprintln!("{}", steps.table());
        head.kill().await
    });
}

/// A headless answer with a fault stops the set-up with its place, and nothing is changed.
#[test]
fn a_wrong_answer_file_is_refused_with_its_line() {
    lab::test_aloud("setup::a_wrong_answer_file_is_refused_with_its_line", async |folder| {
        let mut steps = Steps::begin();
        let net = Net::up(&folder)?;
        net.add_address(DESK)?;
        let right = appliance::answer(&folder)?;
        let fault = "172.16.0.200-172.16.0.999";
        let wrong = right.replace("172.16.0.200-172.16.0.250", fault);
        let line = wrong.lines().position(|it| it.contains(fault)).context("the fault is in the file")? + 1;
        let column = "range = ".len() + 1;
        let mut head = Appliance::wire(&net, &folder, Some(&wrong), None)?;
        head.start()?;
        let mut person = head.keyboard().await?;
        person.wait_for("BdsDxe: starting", BOOT_MAX).await?;
        steps.reach("head", "UEFI");
        person.wait_for(r"pilothouse\.toml on the volume PH_SEED is refused\.", BOOT_MAX).await?;
        let reason = person.wait_for(r"  ! .*\n", PROMPT_MAX).await?;
        ensure!(reason.starts_with(&format!("  ! line {line}, column {column}: ")), "{reason}");
        ensure!(reason.contains("172.16.0.999"), "{reason}");
        person
            .wait_for("Correct it, then plug the volume in again or restart the machine", PROMPT_MAX)
            .await?;
        steps.reach("head", "has refused");
        expect_open(&[]).await?;
        ensure!(!head.console().text().contains(BEGIN), "nobody is asked when an answer is there");
        ensure!(!head.console().text().contains(bmc::PASSWORD), "the console shows the BMCs' password");
        head.kill().await?;
        if is_whole() {
            correct(&mut head, &right, &mut steps).await?;
        }
        eprintln!("{}", steps.table());
        Ok(())
    });
}

/// The same disk with the answer corrected is set up as if nothing had been.
async fn correct(head: &mut Appliance, answer: &str, steps: &mut Steps) -> anyhow::Result<()> {
    head.leave_answer(answer)?;
    let read = head.console().text().len();
    head.start()?;
    steps.reach("head", "restarted");
    let ends = r"The head is set up\.|is refused\.\n.*|Press Enter to answer";
    let (end, _) = head.console().wait_after(read, ends, BOOT_MAX + APPLY_MAX).await?;
    ensure!(end.starts_with("The head"), "{end}");
    steps.reach("head", "is set up");
    check_state(head).await?;
    expect_open(&OPEN).await?;
    check_document(head, answer)?;
    head.kill().await
}

/// Answers all questions up to the last one; a wrong address, a wrong key and two passwords that differ among them.
async fn answer_questions(person: &mut Keyboard, key: &str) -> anyhow::Result<()> {
    person.send_line("").await?;
    person.wait_for(&regex::escape(&format!("{MAC}  link")), PROMPT_MAX).await?;
    for prompt in ["Cluster name [demo]", "Domain [openchami.cluster]", "Name of the head [demo-head]"] {
        answer(person, prompt, "").await?;
    }
    answer(person, "Nodes network, interface [", "eth99").await?;
    refused(person, "\"eth99\" is no network interface of this machine").await?;
    answer(person, "Nodes network, interface [", &MAC.to_uppercase()).await?;
    let address = "Nodes network, address of the head [172.16.0.254/24]";
    answer(person, address, "999.1.1.1/24").await?;
    refused(person, "\"999.1.1.1/24\" is no address with a prefix").await?;
    answer(person, address, "172.16.0.0/24").await?;
    refused(person, "172.16.0.0/24 is the network's own address").await?;
    answer(person, address, net::HEAD).await?;
    answer(person, "Nodes network, range for unknown machines [none]", "172.16.0.200-172.16.0.250").await?;
    answer(person, "BMC network, same or an interface [same]", "").await?;
    answer(person, "Site network, none, dhcp or static [none]", "").await?;
    answer(person, "Name servers [none]", "").await?;
    answer(person, "Time servers [none]", "").await?;
    answer(person, "Administrator, account [admin]", ADMIN).await?;
    answer(person, "Administrator, SSH public key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5").await?;
    refused(person, "is no OpenSSH public key").await?;
    answer(person, "Administrator, SSH public key", key).await?;
    answer(person, "BMC account, user [none]", bmc::USER).await?;
    for (password, again) in [(bmc::PASSWORD, "another"), (bmc::PASSWORD, bmc::PASSWORD)] {
        answer(person, "BMC account, password (not shown)", password).await?;
        answer(person, "BMC account, password again (not shown)", again).await?;
        if password != again {
            refused(person, "The two are not the same").await?;
        }
    }
    person.wait_for(&regex::escape("Apply this? yes, no or a number to change: "), PROMPT_MAX).await?;
    Ok(())
}

/// Answers the question that begins so.
async fn answer(person: &mut Keyboard, prompt: &str, text: &str) -> anyhow::Result<()> {
    person.wait_for(&format!("{}[^\n]*: ", regex::escape(prompt)), PROMPT_MAX).await?;
    person.send_line(text).await
}

/// The answer is refused for this reason.
async fn refused(person: &mut Keyboard, reason: &str) -> anyhow::Result<()> {
    person.wait_for(&format!("  ! [^\n]*{}", regex::escape(reason)), PROMPT_MAX).await.map(drop)
}

async fn expect_open(ports: &[&str]) -> anyhow::Result<()> {
    let open = doors::open().await?;
    ensure!(open == ports, "of the head's ports {open:?} answer, not {ports:?}");
    Ok(())
}

/// The target is reached and nothing failed on the way.
async fn check_state(head: &Appliance) -> anyhow::Result<()> {
    settle::until(SETTLE_MAX, "pilothouse.target is active", async || {
        Ok(head.run("systemctl is-active pilothouse.target", "").ok())
    })
    .await?;
    // It waits for the end of the boot, and fails when a unit has.
    let state = "timeout 90 systemctl is-system-running --wait || systemctl --failed --plain --no-legend";
    let state = head.run(state, "")?;
    ensure!(state.trim() == "running", "the head is {state}");
    // Of systemd alone: sudo writes this very command to the journal.
    let cycles = head.run("sudo journalctl -b _PID=1 --no-pager --grep 'ordering cycle' || true", "")?;
    ensure!(!cycles.contains("ordering cycle"), "{cycles}");
    Ok(())
}

/// The document that came of the questions is the one in the answer file.
fn check_document(head: &Appliance, headless: &str) -> anyhow::Result<()> {
    let text = head.run("sudo cat /etc/pilothouse/pilothouse.toml", "")?;
    let (written, wanted) = (Document::parse(&text)?, Answer::parse(headless)?.document);
    ensure!(written == wanted, "the interview's document is {written:#?}, not {wanted:#?}");
    Ok(())
}

/// Nobody can log in by a password, and root not by a key either.
fn check_passwords(head: &Appliance) -> anyhow::Result<()> {
    let shadow = head.run(&format!("sudo getent shadow root {ADMIN}"), "")?;
    ensure!(shadow.lines().count() == 2, "{shadow}");
    for line in shadow.lines() {
        let hash = line.split(':').nth(1).context("shadow(5) has a second field")?;
        ensure!(
            hash.starts_with(['!', '*']),
            "{} has a password",
            line.split(':').next().unwrap_or_default()
        );
    }
    Ok(())
}

/// What listens on networks began to after the questions had begun.
fn check_order(head: &Appliance) -> anyhow::Result<()> {
    let journal = "sudo journalctl -b -u pilothouse-firstboot --output=json --no-pager \
        --output-fields=MESSAGE --grep 'questions are answered on'";
    let asked = head.run(journal, "")?;
    let asked: serde_json::Value =
        serde_json::from_str(asked.lines().next().context("it said who answers")?)?;
    let asked = asked["__MONOTONIC_TIMESTAMP"].as_str().context("a journal entry has a time")?;
    let asked: u64 = asked.parse().context("read the time of the questions")?;
    let sockets = "systemctl show -P ActiveEnterTimestampMonotonic ssh.service pilothouse-images-http.socket \
        pilothouse-gateway-plain.socket pilothouse-gateway-tls.socket pilothouse-dhcp-server.socket \
        pilothouse-dhcp-tftp.socket";
    let listened = head.run(sockets, "")?;
    let listened: Vec<u64> = listened.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    ensure!(listened.len() == 6 && listened.iter().all(|it| *it > asked), "{listened:?}, asked at {asked}");
    Ok(())
}

/// The BMCs' password is nowhere that people look.
fn check_secrets(head: &Appliance) -> anyhow::Result<()> {
    ensure!(!head.console().text().contains(bmc::PASSWORD), "the console shows the BMCs' password");
    let count = format!("sudo journalctl -b --output=cat | grep -c {} || true", bmc::PASSWORD);
    let count = head.run(&count, "")?;
    ensure!(count.trim() == "0", "the journal has the BMCs' password {} times", count.trim());
    Ok(())
}

fn public_key(folder: &Path) -> anyhow::Result<String> {
    let key = std::fs::read_to_string(folder.join("head-vm/key.pub")).context("read the public key")?;
    Ok(key.trim().to_owned())
}
