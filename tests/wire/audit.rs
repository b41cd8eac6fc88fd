//! A site's dashboard and alerts name figures that there are, and its Prometheus scrapes every service.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::Service;
use regex::Regex;
use serde_json::Value;
use tests::program;

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
