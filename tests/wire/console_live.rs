//! `pilotctl console` as operators use it: on terminals, several at one console, and looking through logs.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use serde_json::Value;
use tests::swarm::{Options, Place, Retries, Swarm};
use tests::terminal::Terminal;
use tests::{Head, HeadOptions, Net, lab, program, settle};

use crate::swarm_faults::tell;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A head with power and two consoles that are open.
async fn start() -> anyhow::Result<(Swarm, Head)> {
    let (place, retries) = (Place::LOOPBACK, Retries { count: 100, ..Retries::default() });
    let swarm = Swarm::start(Options { count: 2, place, power_on: true, retries, ..Options::default() })?;
    let services = vec![Service::Inventory, Service::Power, Service::Console];
    let head = Head::start(HeadOptions { services, ..HeadOptions::default() }).await?;
    tell(&head, &swarm).await?;
    settle::until(LIMIT, "both consoles are open", async || Ok((swarm.total().consoles == 2).then_some(())))
        .await
        .with_context(|| head.tails(10))?;
    Ok((swarm, head))
}

fn pilotctl(head: &Head, words: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(program::pilotctl()?);
    command.arg("--run").arg(head.sockets()).arg("--config").arg(head.document()).args(words);
    Ok(command)
}

/// How a command ends, and what it prints.
fn run(head: &Head, words: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let output = pilotctl(head, words)?.stdin(std::process::Stdio::null()).output()?;
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
}

/// Sits down at a console, and waits until what it wrote last is shown.
async fn attach(head: &Head, words: &[&str], last: &str) -> anyhow::Result<Terminal> {
    let mut seat = Terminal::start(&pilotctl(head, &[&["console"], words].concat())?)?;
    seat.wait_for("&. leaves", LIMIT).await?;
    seat.wait_for(last, LIMIT).await?;
    Ok(seat)
}

/// Waits until the node was sent just this.
async fn typed(swarm: &Swarm, text: &str) -> anyhow::Result<()> {
    let what = format!("{text:?} has arrived");
    let all = settle::until(LIMIT, &what, async || Ok((swarm.typed(1) == text.as_bytes()).then_some(())));
    let all = all.await;
    all.with_context(|| format!("{:?} has", String::from_utf8_lossy(&swarm.typed(1))))
}

#[test]
fn operators_share_a_console_on_their_terminals() {
    lab::test("console_live::operators_share_a_console_on_their_terminals", async |folder| {
        let _net = Net::up(&folder)?;
        let (swarm, head) = start().await?;
        swarm.write(1, b"before\r\n");
        let mut first = attach(&head, &["nid001"], "before").await?;
        first.send("root\r")?;
        typed(&swarm, "root\r").await?;
        // An ampersand goes through as two.
        first.send("a&&b")?;
        typed(&swarm, "root\ra&b").await?;

        let mut second = attach(&head, &["nid001", "--read-only", "--lines", "1"], "before").await?;
        second.send("x")?;
        second.wait_for("not sent: you only read", LIMIT).await?;
        second.send("&R")?;
        second.wait_for("only who types may reset", LIMIT).await?;

        let mut third = attach(&head, &["nid001", "--force"], "stolen from <root@").await?;
        first.wait_for("stolen by <root@", LIMIT).await?;
        first.send("y")?;
        first.wait_for("not sent: someone else types here", LIMIT).await?;
        swarm.write(1, b"for all\r\n");
        for seat in [&mut first, &mut second, &mut third] {
            seat.wait_for("for all\r\n", LIMIT).await?;
            ensure!(!seat.is_cooked()?, "the terminal is not raw");
        }
        third.send("c")?;
        typed(&swarm, "root\ra&bc").await?;

        let (code, out, _) = run(&head, &["console", "list"])?;
        let row = out.lines().find(|it| it.starts_with("nid001")).context("nid001 is not listed")?;
        let words: Vec<&str> = row.split_whitespace().collect();
        ensure!(code == 0 && words.get(2..4) == Some(&["open", "3"]), "{out}");
        let (_, json, _) = run(&head, &["console", "list", "--output", "json"])?;
        let json: Value = serde_json::from_str(&json)?;
        ensure!(json["consoles"][0]["written"] == true && json["consoles"][1]["readers"] == 0, "{json:#}");

        reset(&swarm, &mut third, &mut first).await?;
        first.send("&F")?;
        third.wait_for("stolen by <root@", LIMIT).await?;
        first.send("d")?;
        typed(&swarm, "root\ra&bcd").await?;
        first.send("&B")?;
        settle::until(LIMIT, "the break has arrived", async || Ok((swarm.seen(1).breaks > 0).then_some(())))
            .await?;
        first.send("&L")?;
        first.wait_for("the end of the log", LIMIT).await?;
        first.send("&?")?;
        first.wait_for("take the keyboard from whoever has it", LIMIT).await?;
        for mut seat in [first, second, third] {
            seat.send("&.")?;
            seat.wait_for("left the console of nid001", LIMIT).await?;
            let status = seat.ended(LIMIT).await?;
            ensure!(status.success() && seat.is_cooked()?, "{status}\n{}", seat.screen());
        }
        head.shut_down().await
    });
}

/// The one who types switches the node off and on, and the others are told who does.
async fn reset(swarm: &Swarm, types: &mut Terminal, reads: &mut Terminal) -> anyhow::Result<()> {
    let commands = || {
        let seen = swarm.seen(1);
        seen.cycle + seen.off + seen.reset
    };
    let before = commands();
    types.send("&R")?;
    for seat in [types, reads] {
        seat.wait_for("reset by <root@", LIMIT).await?;
    }
    settle::until(LIMIT, "the node is switched", async || {
        Ok((commands() > before && swarm.is_on(1)).then_some(()))
    })
    .await?;
    ensure!(
        swarm.seen(2).cycle + swarm.seen(2).off + swarm.seen(2).reset == 0,
        "the other node was switched"
    );
    Ok(())
}

#[test]
fn a_seat_ends_with_the_service_and_a_console_that_is_none_is_refused() {
    lab::test(
        "console_live::a_seat_ends_with_the_service_and_a_console_that_is_none_is_refused",
        async |folder| {
            let _net = Net::up(&folder)?;
            let (swarm, mut head) = start().await?;
            swarm.write(2, b"here\r\n");
            let mut seat = attach(&head, &["nid002"], "here").await?;
            head.stop(Service::Console).await?;
            seat.wait_for("ended the attachment to nid002", LIMIT).await?;
            let status = seat.ended(LIMIT).await?;
            ensure!(status.code() == Some(1) && seat.is_cooked()?, "{status}\n{}", seat.screen());
            head.resume(Service::Console).await?;
            let (code, _, said) = run(&head, &["console", "nid099"])?;
            ensure!(code == 4 && said.contains("nid099 has no console"), "{code}: {said}");
            let mut seat = Terminal::start(&pilotctl(&head, &["console", "nid002", "--escape", "^"])?)?;
            seat.wait_for("^. leaves", LIMIT).await?;
            seat.wait_for("here", LIMIT).await?;
            seat.send("&.^.")?;
            let status = seat.ended(LIMIT).await?;
            ensure!(status.success(), "{status}\n{}", seat.screen());
            head.shut_down().await
        },
    );
}

#[test]
fn logs_are_looked_through_by_node_time_and_pattern() {
    lab::test("console_live::logs_are_looked_through_by_node_time_and_pattern", async |folder| {
        let _net = Net::up(&folder)?;
        let (swarm, head) = start().await?;
        for number in swarm.all() {
            swarm.write(number, format!("Oops: {number:04}\r\nall is well\r\n").as_bytes());
        }
        let find = |words: &[&str]| run(&head, &[&["console", "grep"], words].concat());
        settle::until(LIMIT, "both wrote", async || {
            Ok((find(&["all is well"])?.1.lines().count() == 2).then_some(()))
        })
        .await?;
        let (code, out, _) = find(&["Oops|MCE", "--since", "1h", "nid[001-002]"])?;
        let lines: Vec<&str> = out.lines().collect();
        ensure!(code == 0 && lines.len() == 2, "{out}");
        ensure!(lines[0].starts_with("nid001: 20") && lines[0].ends_with(" Oops: 0001"), "{out}");
        let (_, out, _) = find(&["-i", "oops", "nid002"])?;
        ensure!(out.lines().count() == 1 && out.contains("Oops: 0002"), "{out}");
        let (code, out, said) = find(&["well", "--max", "1"])?;
        ensure!(code == 0 && out.lines().count() == 1 && said.contains("more than 1 lines"), "{said}");
        let (_, out, _) = find(&["Oops", "--output", "json", "nid001"])?;
        let line: Value = serde_json::from_str(&out)?;
        ensure!(
            line["node"] == "nid001" && line["line"].as_str().is_some_and(|it| it.contains("Oops")),
            "{out}"
        );
        let (code, out, _) = find(&["never written"])?;
        ensure!(code == 1 && out.is_empty(), "{code}: {out}");
        let (code, _, said) = find(&["("])?;
        ensure!(code != 0 && !said.trim().is_empty(), "{code}: {said}");
        head.shut_down().await
    });
}
