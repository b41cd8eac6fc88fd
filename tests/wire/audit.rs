//! Who did what is written down by every door: the services' sockets, the gateway, powerman's protocol. What only looks
//! is not, and what is refused is. Figures are read with a right of their own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use domain::Service;
use regex::Regex;
use serde_json::{Value, json};
use tests::{HeadOptions, lab, program};

use crate::desk::{Desk, TLS};

/// The audit records of a service, as it writes them where there is no journal.
fn records(desk: &Desk, service: Service) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(desk.head.log(service))?;
    Ok(text.lines().filter(|it| it.contains("pilothouse_audit=1")).map(str::to_owned).collect())
}

/// Whether there is one that has all these words.
fn has(records: &[String], words: &[&str]) -> bool {
    records.iter().any(|record| words.iter().all(|it| record.contains(it)))
}

#[test]
fn every_door_writes_down_who_did_what() {
    lab::test("audit::every_door_writes_down_who_did_what", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=2)?;
        let (admin, viewer) = (desk.token("admin")?, desk.token("viewer")?);
        let group = json!({"label": "compute", "members": {"ids": []}}).to_string();
        for (token, method, path, body, status) in [
            (&admin, "DELETE", "/hsm/v2/groups/nosuch", None, 404),
            (&viewer, "POST", "/hsm/v2/groups", Some(group.as_str()), 403),
            (&viewer, "GET", "/hsm/v2/groups", None, 200),
        ] {
            let answer = desk.api(token, method, path, body)?;
            ensure!(answer.status == status, "{method} {path}: {answer:?}");
        }
        let query = Some(r#"{"ComponentIDs": ["x1000c0s0b0n0"]}"#);
        let answer = desk.api(&viewer, "POST", "/hsm/v2/State/Components/Query", query)?;
        ensure!(answer.status < 500 && answer.status != 403, "{answer:?}");
        let answer = desk.curl(&["--request", "DELETE", &format!("{TLS}/hsm/v2/State/Components")])?;
        ensure!(answer.status == 401, "{answer:?}");
        let path = "/pilothouse/v1/nodes/nid001";
        let answer = desk.curl_stranger("inventory", path, &["--request", "DELETE"])?;
        ensure!(answer.status == 401 || answer.status == 403, "{answer:?}");

        let told = records(&desk, Service::Inventory)?;
        for words in [
            &["PUT /pilothouse/v1/nodes ", "actor=root (uid:0)", "whence=local", "result=ok"][..],
            &["DELETE /hsm/v2/groups/nosuch ", "actor=root ", "whence=172.16.0.254", "result=refused 404"],
            &["POST /hsm/v2/groups ", "whence=172.16.0.254", "result=refused 403"],
            &["DELETE /hsm/v2/State/Components ", "actor=anonymous", "result=refused 401"],
            &["DELETE /pilothouse/v1/nodes/nid001 ", "actor=anonymous", "whence=local", "result=refused 401"],
        ] {
            ensure!(has(&told, words), "{words:?} is not in\n{}", told.join("\n"));
        }
        ensure!(!has(&told, &["GET "]) && !has(&told, &["/Query"]), "{}", told.join("\n"));
        let tokens = records(&desk, Service::Auth)?;
        ensure!(has(&tokens, &["a token with the role viewer", "actor=root (uid:0)"]), "{tokens:?}");

        // A node that there is not: nothing is asked of a BMC, and who asked is written down all the same.
        desk.pilotctl(&["power", "off", "nid999"])?;
        let mut powerman =
            std::net::TcpStream::connect("127.0.0.1:10101").context("reach powerman's port")?;
        powerman.write_all(b"off nid001\r\n")?;
        // A client that leaves does not wait for the end.
        powerman.shutdown(std::net::Shutdown::Write)?;
        let mut told = String::new();
        powerman.read_to_string(&mut told)?;
        desk.until("both are written down", || {
            let told = records(&desk, Service::Power)?;
            let by_pilotctl = has(&told, &["power off of nid999", "actor=root (uid:0)", "result=ok"]);
            Ok(by_pilotctl && has(&told, &["powerman Off of nid001", "actor=root (uid:0)", "whence=local"]))
        })
        .await?;
        look_at_chain(&desk)?;
        desk.head.shut_down().await
    });
}

/// `pilotctl audit`: nothing at first, then a chain whose only record is missing.
fn look_at_chain(desk: &Desk) -> anyhow::Result<()> {
    let listed = desk.told_json(&["audit", "list"])?;
    ensure!(listed == Value::Array(Vec::new()), "{listed}");
    ensure!(desk.told(&["audit", "verify"])?.contains("no records yet"));
    let stranger = desk.stranger(&["audit", "list"])?;
    ensure!(stranger.code == 4, "{stranger:?}");
    let url = desk.head.database_url().replace("///postgres", "///timeline");
    let statement = "insert into audit (head, id, time, source, actor, whence, what, result, previous, hash)
         values ('a', 2, now(), 'ssh', 'bob', '10.0.0.1', 'log-in', 'ok', sha256('x'), sha256('y'));
         insert into audit_chain values ('a', null, 2, sha256('y'), 0, sha256('x'))";
    let mut psql = std::process::Command::new(program::find("psql", "postgresql-client")?);
    program::converse(psql.arg("--dbname").arg(url).args(["--set", "ON_ERROR_STOP=1"]), statement)?;
    let table = desk.told(&["audit", "list", "--actor", "bo"])?;
    ensure!(table.contains("WHENCE") && table.contains("10.0.0.1") && table.contains("log-in"), "{table}");
    let verdict = desk.pilotctl(&["audit", "verify"])?;
    ensure!(verdict.code == 1 && verdict.err.contains("record 1 of head a: it is missing"), "{verdict:?}");
    Ok(())
}

#[test]
fn prometheus_reads_figures_and_nothing_else() {
    lab::test("audit::prometheus_reads_figures_and_nothing_else", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=2)?;
        let secret = desk.told(&["client", "add", "prometheus", "--role", "viewer"])?;
        let secret = secret.trim();
        let form = format!(
            "grant_type=client_credentials&client_id=prometheus&client_secret={secret}&scope=metrics:read"
        );
        let given = desk.curl(&["--data", &form, &format!("{TLS}/oauth2/token")])?.json()?;
        let token = given["access_token"].as_str().with_context(|| format!("no token: {given}"))?;
        for service in Service::ALL {
            let figures = desk.api(token, "GET", &format!("/services/{service}/metrics"), None)?;
            let is_text =
                figures.body.contains("# EOF") && figures.body.contains("pilothouse_http_requests_total");
            ensure!(figures.status == 200 && is_text, "{service}: {figures:?}");
        }
        let targets = "/services/inventory/pilothouse/v1/targets";
        let found = desk.api(token, "GET", &format!("{targets}?port=9400"), None)?;
        let kind = found.headers.get("content-type").map(String::as_str);
        ensure!(kind.is_some_and(|it| it.starts_with("application/json")), "{found:?}");
        let found = found.json()?;
        ensure!(found[0]["targets"] == json!(["172.16.0.1:9400"]), "{found}");
        ensure!(found[1]["labels"]["node"] == "nid002", "{found}");
        let others = desk.api(token, "GET", &format!("{targets}?group=nosuch"), None)?.json()?;
        ensure!(others == json!([]), "{others}");
        for path in ["/hsm/v2/groups", "/services/timeline/pilothouse/v1/audit"] {
            let refused = desk.api(token, "GET", path, None)?;
            ensure!(refused.status == 403, "{path}: {refused:?}");
        }
        desk.head.shut_down().await
    });
}

fn share() -> PathBuf {
    program::top().join("units/usr/share/pilothouse")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names that services register, as Prometheus sees them.
fn registered(folder: &Path, names: &mut BTreeSet<String>) {
    let one = Regex::new(r#"\b(counter|counters|gauge)\(\s*"([a-z_]+)""#).expect("a pattern");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            registered(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            for found in one.captures_iter(&read(&path)) {
                let suffix = if &found[1] == "gauge" { "" } else { "_total" };
                names.insert(format!("pilothouse_{}{suffix}", &found[2]));
            }
        }
    }
}

#[test]
fn dashboard_and_alerts_name_what_there_is() {
    let mut names = BTreeSet::new();
    registered(&program::top().join("services"), &mut names);
    assert!(names.len() > 30, "{names:?}");
    let used = Regex::new(r"\bpilothouse_[a-z_]+").expect("a pattern");
    let (rules, board) =
        (read(&share().join("prometheus/rules.yml")), read(&share().join("grafana/head.json")));
    let mut count = 0;
    for text in [&rules, &board] {
        for name in used.find_iter(text) {
            assert!(names.contains(name.as_str()), "{} is shown and no service has it", name.as_str());
            count += 1;
        }
    }
    assert!(count > 30, "there were but {count}");
    let board: Value = serde_json::from_str(&board).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    assert!(panels.iter().all(|it| it["targets"].as_array().is_some_and(|it| !it.is_empty())));
    // Each service is scraped.
    let scraped = read(&share().join("prometheus/prometheus.yml"));
    for service in Service::ALL {
        let line = format!("{{service: {service}, __metrics_path__: /services/{service}/metrics}}");
        assert!(scraped.contains(&line), "{service} is not scraped");
    }
    assert_eq!(scraped.matches("__metrics_path__").count(), Service::ALL.len());
}
