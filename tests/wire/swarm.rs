//! The swarm of simulated BMCs: real clients find whole BMCs in it, and each of its faults where it should be.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use ipmi::{Session, SessionOptions, Sol, SolEvent, SolOptions, Target};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tests::swarm::{self, Fault, Options, Place, Rate, Swarm};
use tests::{lab, net, program, settle};
use tokio::task::JoinSet;

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// What a command says, and whether it ended well.
fn run(program: &str, package: &str, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(program::find(program, package)?);
    let output = command.args(arguments).stdin(std::process::Stdio::null()).output()?;
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    Ok((output.status.success(), text))
}

fn ipmitool(suite: &str, words: &str) -> anyhow::Result<String> {
    let account = ["-I", "lanplus", "-H", "127.1.0.1", "-U", swarm::USER, "-P", swarm::PASSWORD, "-C", suite];
    let words: Vec<&str> = account.into_iter().chain(words.split(' ')).collect();
    let (well, text) = run("ipmitool", "ipmitool", &words)?;
    ensure!(well, "ipmitool {words:?}: {text}");
    Ok(text)
}

/// `freeipmi-tools`, on BMC 1, with workarounds.
fn freeipmi(tool: &str, workarounds: &str, words: &[&str]) -> anyhow::Result<(bool, String)> {
    let account = ["-h", "127.1.0.1", "-D", "LAN_2_0", "-u", swarm::USER, "-p", swarm::PASSWORD];
    let mut words = [&account, words, &["--session-timeout", "3000"]].concat();
    if !workarounds.is_empty() {
        words.extend(["-W", workarounds]);
    }
    run(tool, "freeipmi-tools", &words)
}

fn on_loopback(count: u32) -> Options {
    Options { count, place: Place::LOOPBACK, ..Options::default() }
}

#[test]
fn ipmitool_finds_a_whole_bmc() {
    lab::test("swarm::ipmitool_finds_a_whole_bmc", async |folder| {
        let _net = net::Net::up(&folder)?;
        let swarm = Swarm::start(on_loopback(2))?;
        for suite in ["3", "17"] {
            ensure!(ipmitool(suite, "chassis power status")?.contains("Power is off"), "suite {suite}");
            ipmitool(suite, "chassis bootdev pxe")?;
            ipmitool(suite, "chassis power on")?;
            ensure!(ipmitool(suite, "chassis power status")?.contains("Power is on"), "suite {suite}");
            ensure!(swarm.is_on(1) && !swarm.is_on(2) && swarm.booted_from(1) == 1, "{:?}", swarm.seen(1));
            ipmitool(suite, "chassis power off")?;
        }
        swarm.set_power([1], true);
        for (words, expected) in [
            ("mc info", "IPMI Version              : 2.0"),
            ("sel list", "Log area reset/cleared"),
            ("sensor", "CPU Temp"),
            ("sdr list", "5200 RPM"),
            ("fru print", "SW000001"),
            ("lan print 1", "127.1.0.1"),
            ("user list 1", "ADMINISTRATOR"),
            ("sol info 1", "115.2"),
            ("channel info 1", "802.3 LAN"),
            ("dcmi power reading", "Instantaneous power reading"),
        ] {
            let text = ipmitool("17", words)?;
            ensure!(text.contains(expected), "{words}: {text}");
        }
        ipmitool("17", "user set password 2 another-one 20")?;
        let refused = ipmitool("17", "chassis power status");
        ensure!(refused.is_err(), "the old password works on: {refused:?}");
        Ok(())
    });
}

#[test]
fn freeipmi_switches_a_swarm_and_needs_a_workaround_for_each_defect() {
    lab::test("swarm::freeipmi_switches_a_swarm_and_needs_a_workaround_for_each_defect", async |folder| {
        let _net = net::Net::up(&folder)?;
        let swarm = Swarm::start(on_loopback(50))?;
        let account = ["-h", "127.1.0.[1-50]", "-D", "LAN_2_0", "-u", swarm::USER, "-p", swarm::PASSWORD];
        let (well, text) =
            run("ipmipower", "freeipmi-tools", &[&account[..], &["--on", "--wait-until-on"]].concat())?;
        ensure!(well && text.matches(": ok").count() == 50, "{text}");
        let total = swarm.total();
        ensure!((total.on, total.are_on) == (50, 50), "{total:?}");
        let (_, text) = run("ipmipower", "freeipmi-tools", &[&account[..], &["--stat"]].concat())?;
        ensure!(text.matches(": on").count() == 50, "{text}");

        let defects = [
            (Fault::Authcap, "authcap"),
            (Fault::Opensesspriv, "opensesspriv"),
            (Fault::Intel20, "intel20"),
            (Fault::Supermicro20, "supermicro20"),
            (Fault::Nochecksumcheck, "nochecksumcheck"),
        ];
        for (fault, workaround) in defects {
            swarm.heal([1]);
            swarm.inflict([1], fault);
            let (_, without) = freeipmi("ipmipower", "", &["--stat"])?;
            ensure!(!without.contains(": on"), "{fault:?} is not noticed: {without}");
            let (_, with) = freeipmi("ipmipower", workaround, &["--stat"])?;
            ensure!(with.contains(": on"), "{workaround} does not help: {with}");
            let ours = ask(swarm.address(1), "").await;
            // We do not ask for what one of them tells wrongly, and open a session with the level that it is to have.
            let is_harmless = matches!(fault, Fault::Authcap | Fault::Opensesspriv);
            ensure!(ours.is_ok() == is_harmless, "{fault:?}: {ours:?}");
            let ours = ask(swarm.address(1), workaround).await;
            ensure!(ours.with_context(|| format!("ours with {workaround}"))?, "{fault:?}");
        }
        swarm.heal([1]);
        let (_, text) = run("rmcpping", "freeipmi-tools", &["-c", "1", "-t", "1", "127.1.0.1"])?;
        ensure!(text.contains("1 pongs received"), "{text}");
        swarm.inflict([1], Fault::Ipmiping);
        let (_, text) = run("rmcpping", "freeipmi-tools", &["-c", "1", "-t", "1", "127.1.0.1"])?;
        ensure!(text.contains("0 pongs received"), "{text}");
        let (_, text) = run("ipmiping", "freeipmi-tools", &["-c", "1", "-t", "1", "127.1.0.1"])?;
        ensure!(text.contains("1 responses received"), "{text}");
        Ok(())
    });
}

/// Whether a node is on, as our own library is told with workarounds.
async fn ask(address: std::net::SocketAddr, workarounds: &str) -> anyhow::Result<bool> {
    let mut target = Target::new(address, swarm::USER, swarm::PASSWORD);
    target.workarounds = workarounds.parse()?;
    let deadline = Duration::from_secs(3);
    let session = Session::open(&target, SessionOptions { deadline, ..SessionOptions::default() }).await?;
    Ok(session.chassis_status().await?.power_on)
}

/// Many consoles in one process, some of their packets lost: each line comes once.
#[test]
fn every_line_of_every_console_comes_once() {
    lab::test("swarm::every_line_of_every_console_comes_once", async |folder| {
        let count = if program::is_whole() { 500 } else { 50 };
        let _net = net::Net::up(&folder)?;
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        let swarm = Swarm::start(Options { power_on: true, ..on_loopback(count) })?;
        let mut opening = JoinSet::new();
        for number in swarm.all() {
            let address = swarm.address(number);
            opening.spawn(async move { open(address).await.map(|(session, sol)| (number, session, sol)) });
        }
        let mut consoles = Vec::new();
        while let Some(opened) = opening.join_next().await {
            consoles.push(opened.context("a console's task")??);
        }
        swarm.inflict(swarm.all(), Fault::DropsPercent(5));
        swarm.set_rate(swarm.all(), Rate::PerSecond(10.0));
        let mut reading = JoinSet::new();
        for (number, session, sol) in consoles {
            reading.spawn(async move { (number, read(sol, 30).await, session) });
        }
        while let Some(read) = reading.join_next().await {
            let (number, text, _session) = read.context("a reader's task")?;
            let counted = swarm::count(number, &text.with_context(|| format!("BMC {number}"))?);
            let expected =
                swarm::Counted { first: 1, last: counted.last, there: counted.last, ..Default::default() };
            ensure!(counted == expected && counted.last >= 30, "BMC {number}: {counted:?}");
        }
        let total = swarm.total();
        ensure!(total.repeats > 0 && total.lost_bytes == 0, "{total:?}");
        Ok(())
    });
}

#[test]
fn a_stolen_and_a_dropped_console_are_noticed() {
    lab::test("swarm::a_stolen_and_a_dropped_console_are_noticed", async |folder| {
        let _net = net::Net::up(&folder)?;
        let swarm = Swarm::start(Options { power_on: true, ..on_loopback(1) })?;
        for fault in [Fault::SolStolen, Fault::SolStolenQuietly, Fault::SolDropped] {
            let (session, mut sol) = open(swarm.address(1)).await?;
            swarm.inflict([1], fault);
            let noticed = async {
                loop {
                    match sol.recv().await {
                        Ok(SolEvent::Deactivated(cause)) => return Ok(cause),
                        Ok(_) => {}
                        Err(error) => return Err(error),
                    }
                }
            };
            let cause =
                tokio::time::timeout(LIMIT, noticed).await.with_context(|| format!("{fault:?}"))??;
            eprintln!("{fault:?} is noticed: {cause:?}");
            session.close().await?;
        }
        ensure!(swarm.seen(1).activations == 3, "{:?}", swarm.seen(1));
        Ok(())
    });
}

/// A BMC that sends nonsense of every kind, some of it properly sealed, disturbs neither itself nor a neighbour.
#[test]
fn a_babbling_bmc_answers_on_and_ends_nothing() {
    lab::test("swarm::a_babbling_bmc_answers_on_and_ends_nothing", async |folder| {
        let _net = net::Net::up(&folder)?;
        let swarm = Swarm::start(on_loopback(2))?;
        let options =
            || SessionOptions { first_wait: Duration::from_millis(100), ..SessionOptions::default() };
        let open = async |number| {
            Session::open(&Target::new(swarm.address(number), swarm::USER, swarm::PASSWORD), options()).await
        };
        let (hostile, calm) = (open(1).await?, open(2).await?);
        swarm.inflict([1], Fault::BabblesPerS(5000));
        for _ in 0..200 {
            hostile.chassis_status().await.context("ask the babbling one")?;
            calm.chassis_status().await.context("ask its neighbour")?;
        }
        // Also while a session begins.
        open(1).await.context("log in to the babbling one")?.close().await?;
        let settled = || async { Ok((swarm.seen(2).asked == 200).then_some(())) };
        settle::until(LIMIT, "the neighbour was asked as often", settled).await
    });
}

async fn open(address: std::net::SocketAddr) -> anyhow::Result<(Session, Sol)> {
    let options = SessionOptions { dead_after: Duration::from_secs(6), ..SessionOptions::default() };
    let session = Session::open(&Target::new(address, swarm::USER, swarm::PASSWORD), options).await?;
    let sol = session.activate_sol(SolOptions::default()).await?;
    Ok((session, sol))
}

/// Reads so many lines.
async fn read(mut sol: Sol, lines: usize) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let whole = async {
        while text.iter().filter(|it| **it == b'\n').count() < lines {
            if let SolEvent::Data(data) = sol.recv().await? {
                text.extend(data);
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, whole).await.context("the lines do not come")??;
    // Without the line that has not ended.
    let end = text.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
    text.truncate(end);
    Ok(text)
}
