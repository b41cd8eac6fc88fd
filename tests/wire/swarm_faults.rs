//! Each fault of a BMC, seen through the services: the message says what to do next, and the other BMCs are undisturbed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::Service;
use http::Method;
use serde_json::{Value, json};
use tests::fleet::space;
use tests::swarm::{self, Counted, Fault, Options, Place, Rate, Swarm};
use tests::{Head, HeadOptions, Net, lab, settle};

/// Far longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
const STATUS: &str = "/pilothouse/v1/power-status";
const POWER: &str = "/pilothouse/v1/power";
/// BMCs without a fault, first of all.
const WELL: u32 = 8;

/// A head on loopback that knows the nodes of a swarm there.
pub(crate) async fn head(service: Service, swarm: &Swarm, settings: &[&str]) -> anyhow::Result<Head> {
    let mut options = HeadOptions { services: vec![Service::Inventory, service], ..HeadOptions::default() };
    for setting in settings {
        options = options.set(setting)?;
    }
    let head = Head::start(options).await?;
    tell(&head, swarm).await?;
    Ok(head)
}

/// Tells a head of the nodes of a swarm on loopback, and of the account of their BMCs.
pub(crate) async fn tell(head: &Head, swarm: &Swarm) -> anyhow::Result<()> {
    head.pilotctl(&["bmc", "set", "--user", swarm::USER], &format!("{}\n", swarm::PASSWORD))?;
    let mut yaml = String::from("nodes:\n");
    for number in swarm.all() {
        let (node, address) = (space::node(number), swarm.address(number).ip());
        writeln!(
            yaml,
            "- {{nid: {number}, xname: {}, group: compute, mac: '{}', ipaddr: {}, \
             bmc_mac: '02:f1:bc:00:00:{number:02x}', bmc_ipaddr: {address}}}",
            space::xname(number),
            node.mac,
            space::address(number),
        )?;
    }
    head.pilotctl(&["nodes", "import", "--inventory-only", "-"], &yaml)?;
    head.settle().await
}

fn bmc_of(number: u32) -> String {
    space::xname(number).trim_end_matches("n0").to_owned()
}

/// What became of each node of a request, by its number.
async fn ask(head: &Head, path: &str, body: &Value) -> anyhow::Result<BTreeMap<u32, Value>> {
    let answer: Value = head.client(Service::Power).call(Method::POST, path, Some(body)).await?;
    let results = answer["results"].as_array().context("no results")?.iter();
    let number = |it: &Value| it["node"].as_str()?.strip_prefix("nid")?.parse::<u32>().ok();
    Ok(results.filter_map(|it| Some((number(it)?, it.clone()))).collect())
}

fn names(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|it| format!("nid{it:03}")).collect()
}

/// Waits until power knows the last node.
async fn known(head: &Head, swarm: &Swarm) -> anyhow::Result<()> {
    let last = swarm.count();
    settle::until(LIMIT, "power knows all nodes", async || {
        let body = json!({"nodes": [format!("nid{last:03}")]});
        let told = ask(head, STATUS, &body).await?;
        let text = told.get(&last).map(Value::to_string).unwrap_or_default();
        Ok((!text.contains("no node is called") && !text.contains("has no BMC")).then_some(()))
    })
    .await
}

/// Faults that are told of when the state is asked for, and words of the message: what is wrong, and the next step.
const SEEN_BY_STATUS: [(Fault, &[&str]); 7] = [
    (Fault::Silent, &["check", "cable"]),
    (Fault::SlowMs(20_000), &["check", "cable"]),
    (Fault::Full, &["no room for another session", "close unused ones"]),
    (Fault::WrongPassword, &["check", "password"]),
    (Fault::Intel20, &["workaround intel20"]),
    (Fault::Supermicro20, &["workaround supermicro20"]),
    (Fault::Nochecksumcheck, &["workaround nochecksumcheck"]),
];
/// Faults that a status does not show, nor keep from being told.
const UNSEEN_BY_STATUS: [Fault; 7] = [
    Fault::SlowMs(150),
    Fault::DropsPercent(10),
    Fault::BabblesPerS(2000),
    Fault::SaysOn,
    Fault::Authcap,
    Fault::Ipmiping,
    Fault::Opensesspriv,
];
/// Faults that a command shows, by the state that it does not lead to.
const SEEN_BY_COMMAND: [(Fault, &str, &[&str]); 2] = [
    (Fault::IgnoresPower, "on", &["took the command", "console"]),
    (Fault::SaysOn, "off", &["took the command", "console"]),
];

/// Faults that a console's log tells of, in these words.
const SEEN_BY_CONSOLE: [(Fault, &str); 4] = [
    (Fault::SolStolen, "it ended the line"),
    (Fault::SolStolenQuietly, "another session took the line"),
    (Fault::SolDropped, "it ended the line without notice"),
    (Fault::Silent, "no answer"),
];
/// Faults with which a console is logged as if there were none.
const UNSEEN_BY_CONSOLE: [Fault; 3] = [Fault::Solpayloadsize, Fault::NackStorm, Fault::SlowMs(40)];

#[test]
fn every_fault_has_its_place() {
    let by_status = [
        Fault::Silent,
        Fault::SlowMs(20_000),
        Fault::DropsPercent(10),
        Fault::BabblesPerS(2000),
        Fault::Full,
        Fault::WrongPassword,
        Fault::Authcap,
        Fault::Opensesspriv,
        Fault::Intel20,
        Fault::Supermicro20,
        Fault::Ipmiping,
        Fault::Nochecksumcheck,
    ];
    let others = [
        Fault::SaysOn,
        Fault::IgnoresPower,
        Fault::SolStolen,
        Fault::SolStolenQuietly,
        Fault::SolDropped,
        Fault::NackStorm,
        Fault::Solpayloadsize,
    ];
    for fault in by_status.into_iter().chain(others) {
        assert!(is_shown(fault), "{fault:?}");
    }
}

/// Whether a fault is in the list where it belongs; a new one has to be given its place, and one in the test above.
fn is_shown(fault: Fault) -> bool {
    let by_status = || {
        let mut seen = SEEN_BY_STATUS.iter().map(|it| it.0).chain(UNSEEN_BY_STATUS);
        seen.any(|it| it == fault)
    };
    match fault {
        Fault::Silent | Fault::SlowMs(_) | Fault::DropsPercent(_) | Fault::BabblesPerS(_) => by_status(),
        Fault::Full | Fault::WrongPassword | Fault::Authcap | Fault::Opensesspriv => by_status(),
        Fault::Intel20 | Fault::Supermicro20 | Fault::Ipmiping | Fault::Nochecksumcheck => by_status(),
        Fault::SaysOn | Fault::IgnoresPower => SEEN_BY_COMMAND.iter().any(|it| it.0 == fault),
        Fault::SolStolen | Fault::SolStolenQuietly | Fault::SolDropped => {
            SEEN_BY_CONSOLE.iter().any(|it| it.0 == fault)
        }
        Fault::NackStorm | Fault::Solpayloadsize => UNSEEN_BY_CONSOLE.contains(&fault),
    }
}

/// The workaround that a message names.
fn workaround(words: &[&'static str]) -> Option<&'static str> {
    words.iter().find_map(|it| it.strip_prefix("workaround "))
}

#[test]
fn every_fault_is_told_through_power_and_disturbs_no_other() {
    lab::test("swarm_faults::every_fault_is_told_through_power_and_disturbs_no_other", async |folder| {
        let _net = Net::up(&folder)?;
        let count = WELL + (SEEN_BY_STATUS.len() + UNSEEN_BY_STATUS.len() + SEEN_BY_COMMAND.len()) as u32;
        let swarm = Swarm::start(Options { count, place: Place::LOOPBACK, ..Options::default() })?;
        let head = head(Service::Power, &swarm, &[]).await?;
        known(&head, &swarm).await?;
        let process = head.pid(Service::Power);
        let (mut number, mut bad, mut lying) = (WELL, BTreeMap::new(), BTreeMap::new());
        for (fault, words) in SEEN_BY_STATUS {
            number += 1;
            swarm.inflict([number], fault);
            bad.insert(number, (fault, words));
        }
        for fault in UNSEEN_BY_STATUS {
            number += 1;
            swarm.inflict([number], fault);
        }
        for (fault, verb, words) in SEEN_BY_COMMAND {
            number += 1;
            swarm.inflict([number], fault);
            lying.insert(number, (fault, verb, words));
        }

        let told = ask(&head, STATUS, &json!({"nodes": names(swarm.all())})).await?;
        judge(&swarm, &told, &bad)?;
        // What the messages advise helps.
        for (number, (_, words)) in &bad {
            if let Some(name) = workaround(words) {
                head.pilotctl(&["bmc", "set", &bmc_of(*number), "--workarounds", name], "")?;
            }
        }
        let helped: Vec<u32> = bad.iter().filter(|it| workaround(it.1.1).is_some()).map(|it| *it.0).collect();
        bad.retain(|number, _| !helped.contains(number));
        settle::until(LIMIT, "the workarounds help", async || {
            let told = ask(&head, STATUS, &json!({"nodes": names(swarm.all())})).await?;
            Ok(judge(&swarm, &told, &bad).ok())
        })
        .await?;
        let (switched, lies): (Vec<_>, Vec<_>) = swarm.all().partition(|it| !lying.contains_key(it));
        let on = |numbers: Vec<u32>| json!({"nodes": names(numbers), "action": "on"});
        let off = |numbers: Vec<u32>| json!({"nodes": names(numbers), "action": "off"});
        let (unmoved, stuck): (Vec<_>, Vec<_>) = lies.into_iter().partition(|it| lying[it].1 == "on");
        let (on, off) = (on([switched, unmoved].concat()), off(stuck));
        let asked = tokio::join!(ask(&head, POWER, &on), ask(&head, POWER, &off));
        let told = asked.0?.into_iter().chain(asked.1?).collect::<BTreeMap<_, _>>();
        for well in 1..=WELL {
            ensure!(told[&well]["state"] == "on" && swarm.is_on(well), "{:#}", told[&well]);
            ensure!(swarm.seen(well).on == 1, "nid{well:03} was told {} times", swarm.seen(well).on);
        }
        for (number, (fault, _, words)) in lying {
            says(number, fault, &told[&number], words)?;
        }
        // What was wrong is right again, and is believed.
        swarm.heal(swarm.all().filter(|it| !helped.contains(it)));
        let told = ask(&head, STATUS, &json!({"nodes": names(swarm.all())})).await?;
        judge(&swarm, &told, &BTreeMap::new())?;
        ensure!(head.pid(Service::Power) == process && process.is_some(), "power was started again");
        head.shut_down().await
    });
}

type Bad = BTreeMap<u32, (Fault, &'static [&'static str])>;

/// Whether the bad ones are told of, and the others as they are.
fn judge(swarm: &Swarm, told: &BTreeMap<u32, Value>, bad: &Bad) -> anyhow::Result<()> {
    for number in swarm.all() {
        let told = told.get(&number).with_context(|| format!("nothing of nid{number:03}"))?;
        match bad.get(&number) {
            Some((fault, words)) => says(number, *fault, told, words)?,
            None => ensure!(told["ok"] == true && told["state"].is_string(), "nid{number:03}: {told:#}"),
        }
    }
    Ok(())
}

/// Whether an outcome names its BMC and says this.
fn says(number: u32, fault: Fault, told: &Value, words: &[&str]) -> anyhow::Result<()> {
    let error = told["error"].as_str().unwrap_or_default();
    eprintln!("{fault:?}: {error}");
    let all = words.iter().all(|it| error.contains(it)) && error.contains(&bmc_of(number));
    ensure!(told["ok"] == false && all, "{fault:?} of {}: {told:#}", bmc_of(number));
    Ok(())
}

/// Malformed RMCP+ of every kind at a high rate, from several BMCs at once, during log-ins and commands.
#[test]
fn hostile_bmcs_end_no_service() {
    lab::test("swarm_faults::hostile_bmcs_end_no_service", async |folder| {
        let _net = Net::up(&folder)?;
        let options =
            Options { count: WELL + 4, place: Place::LOOPBACK, power_on: true, ..Options::default() };
        let swarm = Swarm::start(options)?;
        for service in [Service::Power, Service::Console] {
            swarm.heal(swarm.all());
            let head = head(service, &swarm, &[]).await?;
            let process = head.pid(service);
            swarm.inflict(WELL + 1..=WELL + 4, Fault::BabblesPerS(3000));
            if service == Service::Power {
                known(&head, &swarm).await?;
                for _ in 0..5 {
                    let body = json!({"nodes": names(swarm.all())});
                    let told = ask(&head, STATUS, &body).await?;
                    judge(&swarm, &told, &BTreeMap::new())?;
                }
            } else {
                swarm.set_rate(1..=WELL, Rate::PerSecond(20.0));
                logged(&head, 1..=WELL, 100).await?;
            }
            ensure!(head.pid(service) == process && process.is_some(), "{service} was started again");
            ensure!(head.fallen().is_none(), "{:?}", head.fallen());
            head.shut_down().await?;
            swarm.set_rate(swarm.all(), Rate::Off);
        }
        Ok(())
    });
}

#[test]
fn a_list_of_two_million_nodes_is_refused() {
    lab::test("swarm_faults::a_list_of_two_million_nodes_is_refused", async |folder| {
        let _net = Net::up(&folder)?;
        let swarm = Swarm::start(Options { place: Place::LOOPBACK, ..Options::default() })?;
        let head = head(Service::Power, &swarm, &[]).await?;
        let begun = Instant::now();
        let refused = head.pilotctl(&["power", "status", "nid[0000001-2000000]"], "");
        let text = format!("{:#}", refused.expect_err("a list of two million nodes is taken"));
        ensure!(text.contains("more than") && text.contains("nodes"), "{text}");
        // A name is one word of a request, not a list of names.
        let told = head.client(Service::Power);
        let body = json!({"nodes": ["nid[0000001-2000000]"]});
        let answer: Value = told.call(Method::POST, STATUS, Some(&body)).await?;
        ensure!(answer["results"][0]["ok"] == false, "{answer:#}");
        let many: Vec<String> = (1..=2_000_000).map(|it| format!("n{it}")).collect();
        let refused = told.call::<Value>(Method::POST, STATUS, Some(&json!({"nodes": many}))).await;
        ensure!(refused.is_err(), "two million words are taken: {refused:?}");
        ensure!(begun.elapsed() < LIMIT, "the refusals took {:?}", begun.elapsed());
        ensure!(head.fallen().is_none(), "{:?}", head.fallen());
        head.shut_down().await
    });
}

/// Waits until the logs of these have so many of their lines.
pub(crate) async fn logged(
    head: &Head,
    numbers: impl Iterator<Item = u32> + Clone,
    lines: u64,
) -> anyhow::Result<BTreeMap<u32, Counted>> {
    let folder = head.folder().join("state/console/log");
    let mut counted = BTreeMap::new();
    let all = settle::until(LIMIT, "the lines are logged", async || {
        for number in numbers.clone() {
            let log = std::fs::read(folder.join(format!("console.nid{number:03}"))).unwrap_or_default();
            counted.insert(number, swarm::count(number, &log));
        }
        Ok(counted.values().all(|it| it.there >= lines).then_some(()))
    });
    let all = all.await;
    all.with_context(|| format!("{counted:#?}\n{}", head.tails(10)))?;
    Ok(counted)
}

#[test]
fn every_fault_of_a_console_is_marked_in_its_log_and_in_no_other() {
    lab::test(
        "swarm_faults::every_fault_of_a_console_is_marked_in_its_log_and_in_no_other",
        async |folder| {
            let _net = Net::up(&folder)?;
            let (faults, first) = (SEEN_BY_CONSOLE, WELL + 1);
            let unseen = WELL + faults.len() as u32 + 1;
            let count = WELL + (faults.len() + UNSEEN_BY_CONSOLE.len()) as u32;
            let options = Options { count, place: Place::LOOPBACK, power_on: true, ..Options::default() };
            let swarm = Swarm::start(options)?;
            for (number, fault) in (unseen..).zip(UNSEEN_BY_CONSOLE) {
                swarm.inflict([number], fault);
            }
            let head = head(Service::Console, &swarm, &["console.dead_after='4s'"]).await?;
            settle::until(LIMIT, "all consoles are open", async || {
                Ok((swarm.total().consoles == u64::from(count)).then_some(()))
            })
            .await?;
            swarm.set_rate(swarm.all(), Rate::PerSecond(10.0));
            logged(&head, 1..=count, 5).await?;
            for (number, (fault, _)) in (first..).zip(faults) {
                swarm.inflict([number], fault);
            }
            let folder = head.folder().join("state/console/log");
            for (number, (fault, word)) in (first..).zip(faults) {
                let path = folder.join(format!("console.nid{number:03}"));
                let what = format!("{fault:?} is marked");
                let marked = settle::until(LIMIT, &what, async || {
                    let log = std::fs::read_to_string(&path).unwrap_or_default();
                    let mark = log.lines().find(|it| it.contains("<Pilothouse>") && it.contains(word));
                    Ok(mark.map(str::to_owned))
                });
                let marked = marked.await;
                eprintln!("{fault:?}: {}", marked.with_context(|| head.tails(10))?);
            }
            swarm.heal(swarm.all());
            // They are taken back, and go on.
            let before = (first..unseen).map(|it| swarm.seen(it).lines).max().unwrap_or_default();
            settle::until(LIMIT, "all of them log again", async || {
                let last = |it: u32| {
                    let log = std::fs::read(folder.join(format!("console.nid{it:03}"))).unwrap_or_default();
                    swarm::count(it, &log).last
                };
                Ok((first..unseen).all(|it| last(it) > before).then_some(()))
            })
            .await
            .with_context(|| head.tails(10))?;
            swarm.set_rate(swarm.all(), Rate::Off);
            for (number, counted) in logged(&head, (1..=WELL).chain(unseen..=count), 5).await? {
                let whole = Counted {
                    first: counted.first,
                    last: counted.last,
                    there: counted.there,
                    ..Counted::default()
                };
                ensure!(counted == whole, "nid{number:03} was disturbed: {counted:?}");
            }
            head.shut_down().await
        },
    );
}
