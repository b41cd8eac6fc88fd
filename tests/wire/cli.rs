//! `pilotctl` as an administrator uses it, against a head of real services.

use std::os::unix::net::UnixListener;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::{HeadOptions, Node, lab, node};

use crate::desk::{Desk, KEY, PLAIN, TLS};

/// The shape that the bootcamp's script writes.
const BOOTCAMP: &str = "nodes:
- name: nid001
  xname: x1000c1s7b1n0
  nid: 1
  group: compute
  bmc_mac: 52:54:00:b0:00:01
  bmc_ip: 172.16.0.101
  interfaces:
  - mac_addr: 52:54:00:10:00:01
    ip_addrs:
    - name: management
      ip_addr: 172.16.0.1
- name: nid002
  xname: x1000c1s7b2n0
  nid: 2
  group: compute
  bmc_mac: 52:54:00:b0:00:02
  bmc_ip: 172.16.0.102
  interfaces:
  - mac_addr: 52:54:00:10:00:02
    ip_addrs:
    - name: management
      ip_addr: 172.16.0.2
";

fn flat() -> String {
    node::nodes_yaml(&[Node::demo(1), Node::demo(2)])
}

#[test]
fn an_import_is_shown_before_and_changes_nothing_twice() {
    lab::test("cli::an_import_is_shown_before_and_changes_nothing_twice", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        let (flat_file, bootcamp_file) = (folder.join("flat.yaml"), folder.join("nodes.yaml"));
        std::fs::write(&flat_file, flat())?;
        std::fs::write(&bootcamp_file, BOOTCAMP)?;
        let (flat_file, bootcamp_file) =
            (flat_file.to_str().context("text")?, bootcamp_file.to_str().context("text")?);

        let dry = desk.told(&["nodes", "import", bootcamp_file, "--dry-run"])?;
        ensure!(dry.contains("would be added    x1000c1s7b1n0"), "{dry}");
        ensure!(desk.told_json(&["nodes", "list"])?.as_array().is_some_and(Vec::is_empty));
        let scripts = desk.told_json(&["boot", "script", "x1000c1s7b1n0"])?;
        ensure!(scripts["source"] == "none", "{scripts}");

        let first = desk.told(&["nodes", "import", bootcamp_file])?;
        ensure!(
            first.contains("added    x1000c1s7b1n0") && first.contains("added    x1000c1s7b2n0"),
            "{first}"
        );
        ensure!(first.contains("2 interfaces boot the image compute"), "{first}");
        let nodes = desk.told_json(&["nodes", "list"])?;
        ensure!(
            nodes[0]["name"] == "nid001" && nodes[0]["interfaces"][0]["mac"] == "52:54:00:10:00:01",
            "{nodes}"
        );
        ensure!(
            nodes[1]["bmc"]["address"] == "172.16.0.102" && nodes[1]["groups"][0] == "compute",
            "{nodes}"
        );

        let second = desk.told(&["nodes", "import", bootcamp_file])?;
        ensure!(second.trim() == "2 unchanged", "{second}");
        // The other shape says the same.
        let other = desk.told_json(&["nodes", "import", flat_file, "--dry-run"])?;
        ensure!(other["unchanged"] == 2 && other["changed"] == Value::Array(Vec::new()), "{other}");
        let other = desk.told(&["nodes", "import", flat_file])?;
        ensure!(other.trim() == "2 unchanged", "{other}");
        ensure!(desk.told_json(&["nodes", "list"])? == nodes);

        let moved = BOOTCAMP.replace("ip_addr: 172.16.0.2", "ip_addr: 172.16.0.22");
        for words in [&["nodes", "import", "-", "--dry-run"][..], &["nodes", "import", "-"]] {
            let ran = desk.pilotctl_with(words, &moved)?;
            ensure!(ran.code == 0 && ran.out.contains("1 unchanged"), "{ran:?}");
            ensure!(ran.out.contains("x1000c1s7b2n0") && ran.out.contains("172.16.0.22"), "{ran:?}");
        }
        desk.head.shut_down().await
    });
}

#[test]
fn a_file_with_a_fault_is_refused_whole() {
    lab::test("cli::a_file_with_a_fault_is_refused_whole", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.pilotctl_with(&["nodes", "import", "-"], BOOTCAMP)?;
        let before = desk.told_json(&["nodes", "list"])?;
        let third =
            "- {name: nid003, xname: x1000c1s7b3n0, nid: 3, mac: '52:54:00:10:00:03', ipaddr: 172.16.0.3}\n";
        let (one, three) = ("x1000c1s7b1n0", "x1000c1s7b3n0");
        for (from, to, words) in [
            ("52:54:00:10:00:03", "52:54:00:10:00:01", ["MAC address", "line 9", one, three]),
            ("172.16.0.3}", "172.16.0.1}", ["IP address", "line 12", one, three]),
            ("nid: 3", "nid: 1", ["NID", "line 4", one, three]),
            ("name: nid003", "name: nid001", ["name", "line 2", one, three]),
            (three, one, ["twice", "line 3", one, one]),
            // Its BMC's address is a node's.
            ("172.16.0.3}", "172.16.0.101}", ["IP address", "line 7", "x1000c1s7b1", three]),
            ("nid: 3", "colour: red", ["colour", "line 24", "unknown", "refused"]),
            ("nid: 3", "nid: three", ["line 24", "i64", "line 24", "refused"]),
        ] {
            let path = folder.join("faulty.yaml");
            let faulty = format!("{BOOTCAMP}{}", third.replace(from, to));
            std::fs::write(&path, &faulty)?;
            for extra in [&["--dry-run"][..], &[]] {
                let ran =
                    desk.pilotctl(&[&["nodes", "import", path.to_str().context("text")?], extra].concat())?;
                ensure!(ran.code == 1 && ran.out.is_empty(), "{to}: {ran:?}");
                for word in words.into_iter().chain(["faulty.yaml", "line 24"]) {
                    ensure!(ran.err.contains(word), "{word:?} is not said of {to}: {}", ran.err);
                }
                let lines: Vec<&str> = ran.err.trim().lines().collect();
                ensure!(
                    lines.iter().all(|it| lines.iter().filter(|other| *other == it).count() == 1),
                    "{lines:?}"
                );
            }
        }
        // What the inventory holds already is no other node's either.
        let taken = "nodes:\n- {name: nid009, xname: x1000c1s7b9n0, nid: 9, mac: '52:54:00:10:00:02'}\n";
        let ran = desk.pilotctl_with(&["nodes", "import", "-"], taken)?;
        ensure!(ran.code == 1 && ran.err.contains("line 2") && ran.err.contains("x1000c1s7b2n0"), "{ran:?}");
        let missing = desk.pilotctl(&["nodes", "import", "/nowhere/nodes.yaml"])?;
        ensure!(missing.code == 1 && missing.err.contains("/nowhere/nodes.yaml"), "{missing:?}");
        ensure!(desk.told_json(&["nodes", "list"])? == before, "refused whole");
        desk.head.shut_down().await
    });
}

/// As the bootcamp finds it: `ochami bss boot params get`, `ochami cloud-init data get compute`.
#[test]
fn an_import_leaves_groups_ready_to_boot() {
    lab::test("cli::an_import_leaves_groups_ready_to_boot", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        let root = desk.called("get_ca_cert", &[])?;
        ensure!(root.code == 0 && root.out.starts_with("-----BEGIN CERTIFICATE-----"), "{root:?}");
        let token = desk.called("gen_access_token", &[])?;
        ensure!(token.code == 0 && token.out.trim().split('.').count() == 3, "{token:?}");
        let token = token.out.trim();
        desk.import(1..=2)?;

        let base = "http://172.16.0.254:8080/compute/latest";
        let entries = desk.api(token, "GET", "/boot/v1/bootparameters", None)?.json()?;
        let entry = &entries[0];
        ensure!(entries.as_array().is_some_and(|it| it.len() == 1), "{entries:#}");
        ensure!(entry["macs"] == serde_json::json!(["52:54:00:10:00:01", "52:54:00:10:00:02"]), "{entry:#}");
        ensure!(entry["kernel"] == format!("{base}/vmlinuz-6.12"), "{entry:#}");
        ensure!(entry["initrd"] == format!("{base}/initramfs-6.12.img"), "{entry:#}");
        let params = entry["params"].as_str().context("params")?;
        ensure!(params.starts_with(&format!("root=live:{base}/rootfs-6.12 ")), "{params}");
        ensure!(params.contains(&format!("ds=nocloud;s={PLAIN}/cloud-init/")), "{params}");
        let kernel = desk.curl(&[entry["kernel"].as_str().context("kernel")?])?;
        ensure!(kernel.status == 200 && kernel.body == "vmlinuz-6.12", "{kernel:?}");

        let data = desk.curl(&[&format!("{TLS}/cloud-init/compute/user-data")])?;
        ensure!(data.body.starts_with("#cloud-config\n"), "{data:?}");
        ensure!(data.body.contains("/root/.ssh/authorized_keys") && data.body.contains(KEY), "{data:?}");
        let script = desk.pilotctl(&["boot", "script", "nid002"])?;
        ensure!(script.out.starts_with("#!ipxe") && script.out.contains("vmlinuz-6.12"), "{script:?}");
        ensure!(script.err.contains("x1000c1s7b2n0") && script.err.contains("mac"), "{script:?}");
        let asked = desk.curl(&[&format!("{PLAIN}/boot/v1/bootscript?mac=52:54:00:10:00:02")])?;
        ensure!(asked.body.trim() == script.out.trim(), "{} is not {}", asked.body, script.out);

        // A third node joins the entry; what an administrator has set stays.
        let own = serde_json::json!({"macs": ["52:54:00:10:00:01"], "kernel": "http://h/own"}).to_string();
        let set = desk.api(token, "PUT", "/boot/v1/bootparameters", Some(&own))?;
        ensure!(set.status < 300, "{set:?}");
        let ran = desk.import(1..=3)?;
        ensure!(
            ran.out.contains("1 interfaces boot the image compute") && ran.out.contains("2 unchanged"),
            "{ran:?}"
        );
        let entries = desk.api(token, "GET", "/boot/v1/bootparameters", None)?.json()?;
        let of = |kernel: &str| {
            let found = entries.as_array().into_iter().flatten().find(|it| it["kernel"] == kernel);
            found.map(|it| it["macs"].clone()).unwrap_or_default()
        };
        ensure!(of("http://h/own") == serde_json::json!(["52:54:00:10:00:01"]), "{entries:#}");
        let rest = serde_json::json!(["52:54:00:10:00:02", "52:54:00:10:00:03"]);
        ensure!(of(&format!("{base}/vmlinuz-6.12")) == rest, "{entries:#}");
        desk.head.shut_down().await
    });
}

#[test]
fn nodes_are_listed_changed_and_removed() {
    lab::test("cli::nodes_are_listed_changed_and_removed", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=3)?;
        let table = desk.told(&["nodes", "list"])?;
        let first: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        let wanted =
            ["nid001", "x1000c1s7b1n0", "1", "compute", "52:54:00:10:00:01", "172.16.0.1", "172.16.0.101"];
        ensure!(first.starts_with(&wanted) && table.lines().count() == 4, "{table}");
        desk.told(&["nodes", "set", "nid003", "--name", "login1"])?;
        let shown = desk.told_json(&["nodes", "show", "login1"])?;
        ensure!(shown["xname"] == "x1000c1s7b3n0" && shown["nid"] == 3, "{shown}");
        for (words, code, says) in [
            (&["nodes", "set", "nid001", "--name", "nid002"][..], 1, "x1000c1s7b2n0"),
            (&["nodes", "set", "nid001", "--nid", "2"], 1, "x1000c1s7b2n0"),
            (&["nodes", "set", "nid001"], 2, "--name"),
            (&["nodes", "show", "nid099"], 1, "nid099"),
            (&["nodes", "remove", "nid[001-002"], 2, "brackets"),
            (&["nodes", "remove", "nid[002,050-051]"], 3, "nid050"),
        ] {
            let ran = desk.pilotctl(words)?;
            ensure!(ran.code == code && ran.err.contains(says), "{words:?}: {ran:?}");
        }
        desk.told(&["nodes", "remove", "nid[001-001]", "login1"])?;
        ensure!(desk.told(&["nodes", "list"])?.lines().count() == 1);
        let scripts = desk.told_json(&["boot", "script", "nid001"])?;
        ensure!(scripts["node"].is_null(), "{scripts}");

        let machine = desk.machine(7).await?;
        let given = desk.dhcp(&machine, &[])?.context("a stranger is lent an address")?;
        let unknown = desk.told_json(&["nodes", "list", "--unknown"])?;
        ensure!(
            unknown[0]["mac"] == "52:54:00:10:00:07" && unknown[0]["ip"] == given["ip"],
            "{unknown} {given:?}"
        );
        ensure!(desk.told(&["nodes", "list", "--unknown"])?.contains("52:54:00:10:00:07"));
        desk.import(7..=7)?;
        desk.until("nid007 is known", || {
            Ok(desk.told_json(&["nodes", "list", "--unknown"])?.as_array().is_some_and(Vec::is_empty))
        })
        .await?;
        desk.head.shut_down().await
    });
}

#[test]
fn a_failure_says_what_to_do_by_its_exit_status_too() {
    lab::test("cli::a_failure_says_what_to_do_by_its_exit_status_too", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=2)?;
        let usage: [&[&str]; 7] = [
            &["nodes"],
            &["nodes", "import"],
            &["power", "status"],
            &["power", "on", "nid001", "--boot", "floppy"],
            &["power", "status", "nid[9-1]"],
            &["--output", "xml", "status"],
            &["logs", "nothing"],
        ];
        for words in usage {
            let ran = desk.pilotctl(words)?;
            ensure!(ran.code == 2 && !ran.err.is_empty(), "{words:?}: {ran:?}");
        }
        refused(&desk)?;
        unreachable(&desk)?;
        silent_bmc(&desk).await?;
        for shell in ["bash", "zsh", "fish"] {
            let text = desk.told(&["completions", shell])?;
            ensure!(text.contains("pilotctl") && text.contains("import"), "{text}");
        }
        let words: [&[&str]; 4] =
            [&["status"], &["nodes", "list"], &["bmc", "list"], &["nodes", "list", "--unknown"]];
        for words in words {
            ensure!(desk.told_json(words)?.is_array(), "{words:?}");
        }
        desk.head.shut_down().await
    });
}

/// Exit 4 to whoever has no right.
fn refused(desk: &Desk) -> anyhow::Result<()> {
    let words: [&[&str]; 7] = [
        &["nodes", "list"],
        &["nodes", "import", "/dev/null"],
        &["nodes", "remove", "nid001"],
        &["power", "on", "nid001"],
        &["boot", "script", "nid001"],
        &["token"],
        &["bmc", "list"],
    ];
    for words in words {
        let ran = desk.stranger(words)?;
        ensure!(ran.code == 4 && ran.out.is_empty(), "{words:?}: {ran:?}");
        ensure!(ran.err.contains("root") || ran.err.contains("log in on the head"), "{words:?}: {ran:?}");
    }
    ensure!(desk.told(&["nodes", "list"])?.contains("nid001"));
    Ok(())
}

/// Exit 5 where no service answers: no socket, or one that nobody holds any more.
fn unreachable(desk: &Desk) -> anyhow::Result<()> {
    let empty = desk.folder.join("empty");
    std::fs::create_dir(&empty)?;
    for left in [false, true] {
        if left {
            for name in ["inventory", "power", "boot", "auth", "ca"] {
                drop(UnixListener::bind(empty.join(format!("{name}.sock")))?);
            }
        }
        let words: [&[&str]; 5] = [
            &["nodes", "list"],
            &["power", "status", "nid001"],
            &["boot", "script", "nid001"],
            &["token"],
            &["ca-cert"],
        ];
        for words in words {
            let ran = desk.alone(&empty, words)?;
            // Away from a head a token is that of a log-in.
            let (code, says) =
                if *words == ["token"] && !left { (4, "pilotctl login") } else { (5, ".sock") };
            ensure!(ran.code == code && ran.err.contains(says), "{words:?}: {ran:?}");
        }
    }
    Ok(())
}

/// Exit 3 with the BMC, the step and what to check; an account is set by standard input alone.
async fn silent_bmc(desk: &Desk) -> anyhow::Result<()> {
    let power = |words: &[&str]| desk.pilotctl(&[&["power", "status"], words].concat());
    desk.until("power knows the nodes", || Ok(!power(&["nid001"])?.out.contains("no node is called")))
        .await?;
    let ran = power(&["nid001"])?;
    ensure!(ran.code == 3 && ran.out.contains("pilotctl bmc set"), "no account yet: {ran:?}");
    let empty = desk.pilotctl_with(&["bmc", "set", "--user", "admin"], "\n")?;
    ensure!(empty.code == 2, "{empty:?}");
    let set = desk.pilotctl_with(&["bmc", "set", "--user", "admin"], "secret12\n")?;
    ensure!(set.code == 0 && set.out.is_empty(), "{set:?}");
    for (scope, code) in [("class:gpu", 0), ("x1000c1s7b2", 0), ("x1000c1s7b2n0", 1), ("class:", 1)] {
        let set = desk.pilotctl_with(&["bmc", "set", scope, "--user", "admin"], "secret12")?;
        ensure!(set.code == code && (code == 0 || set.err.contains("default")), "{scope}: {set:?}");
    }
    let bmcs = desk.told(&["bmc", "list"])?;
    ensure!(bmcs.contains("172.16.0.102") && !bmcs.contains("secret12"), "{bmcs}");
    let argument = desk.pilotctl(&["bmc", "set", "--user", "admin", "--password", "secret12"])?;
    ensure!(argument.code == 2, "{argument:?}");
    let ran = power(&["nid[001-002]", "nid099"])?;
    ensure!(ran.code == 3 && ran.err.contains("3 of 3 nodes"), "{ran:?}");
    for word in ["x1000c1s7b1", "172.16.0.101", "x1000c1s7b2", "check", "nid099"] {
        ensure!(ran.out.contains(word), "{word} is not said: {}", ran.out);
    }
    let json = desk.pilotctl(&["power", "status", "nid001", "--output", "json"])?;
    let value: Value = serde_json::from_str(&json.out).with_context(|| json.out.clone())?;
    ensure!(json.code == 3 && value["results"][0]["ok"] == false, "{json:?}");
    Ok(())
}
