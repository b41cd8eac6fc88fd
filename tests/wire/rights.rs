//! Who may what, through the real gateway with real tokens, and on the sockets with real uids.

use std::path::Path;

use anyhow::{Context as _, ensure};
use domain::Service;
use serde_json::json;
use tests::head::Trusted;
use tests::replay::{AUDIENCE, ISSUER, Keys};
use tests::{HeadOptions, Node, lab};

use crate::desk::{Desk, PLAIN, TLS};

/// A path of each service that takes a right to read.
const READS: [&str; 9] = [
    "/hsm/v2/State/Components/x1000c1s7b1n0",
    "/hsm/v2/groups",
    "/boot/v1/bootparameters",
    "/services/inventory/pilothouse/v1/nodes",
    "/services/images/pilothouse/v1/images",
    "/services/dhcp/pilothouse/v1/leases?ip=172.16.0.1",
    "/services/auth/pilothouse/v1/clients",
    "/remote-console/consoles",
    "/services/boot/metrics",
];

#[test]
fn a_token_opens_what_its_rights_say_and_no_more() {
    lab::test("rights::a_token_opens_what_its_rights_say_and_no_more", async |folder| {
        let keys = Keys::generate()?;
        let (issuer, audience) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let trusted = vec![Trusted { issuer, audience, jwks: keys.jwks().to_string() }];
        let desk = Desk::open(&folder, HeadOptions { trusted, ..HeadOptions::default() }).await?;
        desk.import(1..=1)?;
        for path in READS {
            let answer = desk.curl(&[&format!("{TLS}{path}")])?;
            ensure!(answer.status == 401 && answer.body.contains("no token found"), "{path}: {answer:?}");
        }
        bad_tokens(&desk, &keys)?;
        roles(&desk)?;
        plain_port(&desk)?;
        never_routed(&desk)?;
        never_given(&desk)?;
        desk.head.shut_down().await
    });
}

fn bad_tokens(desk: &Desk, keys: &Keys) -> anyhow::Result<()> {
    for (kind, says) in [
        ("expired", "token is expired"),
        ("notyet", "token nbf validation failed"),
        ("wrongaud", "token is unauthorized"),
        ("wrongiss", "token is unauthorized"),
        ("badsig", "token is unauthorized"),
        ("tampered", "token is unauthorized"),
        ("algnone", "token is unauthorized"),
        ("garbage", "token is unauthorized"),
        ("noexp", "missing required claim"),
    ] {
        for path in READS {
            let answer = desk.api(&keys.mint(kind)?, "GET", path, None)?;
            ensure!(answer.status == 401 && answer.body.contains(says), "{kind} {path}: {answer:?}");
        }
    }
    for path in READS {
        let answer = desk.api(&keys.mint("valid")?, "GET", path, None)?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    Ok(())
}

fn roles(desk: &Desk) -> anyhow::Result<()> {
    let (viewer, operator, admin) = (desk.token("viewer")?, desk.token("operator")?, desk.token("admin")?);
    for path in READS {
        let answer = desk.api(&viewer, "GET", path, None)?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
    }
    let writes = [
        ("POST", "/hsm/v2/groups", json!({"label": "g1"}).to_string(), "inventory:write"),
        (
            "PUT",
            "/services/inventory/pilothouse/v1/nodes",
            tests::node::nodes_yaml(&[Node::demo(1)]),
            "inventory:write",
        ),
        (
            "PUT",
            "/boot/v1/bootparameters",
            json!({"hosts": ["Default"], "kernel": "http://h/k"}).to_string(),
            "boot:write",
        ),
        (
            "POST",
            "/services/auth/pilothouse/v1/clients",
            json!({"id": "ci", "role": "viewer"}).to_string(),
            "auth:write",
        ),
        (
            "POST",
            "/cloud-init/",
            json!({"name": "g1", "cloud-init": {"metadata": {"a": "b"}}}).to_string(),
            "cloud-init:write",
        ),
        ("DELETE", "/hsm/v2/groups/g1", String::new(), "inventory:write"),
    ];
    for token in [&viewer, &operator] {
        for (method, path, body, right) in &writes {
            let answer = desk.api(token, method, path, Some(body))?;
            ensure!(answer.status == 403 && answer.body.contains(right), "{method} {path}: {answer:?}");
        }
    }
    for (method, path, body, _) in &writes {
        let answer = desk.api(&admin, method, path, Some(body))?;
        ensure!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
    }
    // Power and consoles are the operator's.
    let nodes = json!({"nodes": ["nid099"], "action": "on"}).to_string();
    for (token, status) in [(&viewer, 403), (&operator, 200)] {
        let answer = desk.api(token, "POST", "/services/power/pilothouse/v1/power", Some(&nodes))?;
        ensure!(answer.status == status, "{answer:?}");
    }
    // Who is known by a token is given none: it would live for ever.
    let answer = desk.api(&admin, "POST", "/services/auth/pilothouse/v1/tokens", Some("{}"))?;
    ensure!(answer.status == 403, "{answer:?}");
    Ok(())
}

/// Over plain HTTP a token is refused, not used, and so is everything that takes one.
fn plain_port(desk: &Desk) -> anyhow::Result<()> {
    let bearer = format!("authorization: Bearer {}", desk.token("admin")?);
    for path in
        READS.into_iter().chain(["/boot/v1/bootscript?mac=52:54:00:10:00:01", "/cloud-init/user-data"])
    {
        let answer = desk.curl(&["--header", &bearer, &format!("{PLAIN}{path}")])?;
        ensure!(answer.status == 403, "{path}: {answer:?}");
    }
    for path in READS {
        let answer = desk.curl(&[&format!("{PLAIN}{path}")])?;
        ensure!(answer.status == 403, "{path}: {answer:?}");
    }
    let script = desk.curl(&[&format!("{PLAIN}/boot/v1/bootscript?mac=52:54:00:10:00:01")])?;
    ensure!(script.status == 200, "{script:?}");
    Ok(())
}

/// The feeds are for the services: no spelling leads there.
fn never_routed(desk: &Desk) -> anyhow::Result<()> {
    let admin = desk.token("admin")?;
    for feed in ["snapshot", "changes?epoch=00000000-0000-4000-8000-000000000001&after=0"] {
        for prefix in [
            "/",
            "/services/inventory/",
            "/services/inventory//",
            "/services/inventory/./",
            "/services/inventory/x/../",
            "/services/inventory/%2e/",
            "/services/boot/",
            "/services/cloud-init/",
            "/services/auth/",
            "/services/%69nventory/",
            "/apis/bss/",
            "//services/inventory/",
        ] {
            let answer = desk.api(&admin, "GET", &format!("{prefix}{feed}"), None)?;
            ensure!(matches!(answer.status, 400 | 404), "{prefix}{feed}: {answer:?}");
        }
    }
    for path in
        ["/services/inventory/%73napshot", "/services/inventory/snapsho%74", "/services/inventory/snapshot/"]
    {
        let answer = desk.api(&admin, "GET", path, None)?;
        ensure!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
    }
    for path in ["/snapshot", "/changes?epoch=00000000-0000-4000-8000-000000000001&after=0"] {
        for service in ["inventory", "boot", "cloud-init"] {
            let answer = desk.curl_stranger(service, path, &[])?;
            ensure!(matches!(answer.status, 401 | 403), "{service} {path}: {answer:?}");
        }
    }
    Ok(())
}

/// What no person is given, whatever they are.
fn never_given(desk: &Desk) -> anyhow::Result<()> {
    let admin = desk.token("admin")?;
    let credential = "/pilothouse/v1/bmcs/x1000c1s7b1/credential";
    let through = desk.api(&admin, "GET", &format!("/services/inventory{credential}"), None)?;
    let root = desk.curl_socket("inventory", credential, &[])?;
    let posing = ["--header", "x-forwarded-for: 127.0.0.1"];
    let posing = desk.curl_socket("inventory", credential, &posing)?;
    for answer in [through, root, posing, desk.curl_stranger("inventory", credential, &[])?] {
        ensure!(answer.status == 403, "{answer:?}");
    }
    let (path, body) = ("/pilothouse/v1/head-certificate", json!({"csr_pem": "x"}).to_string());
    let through = desk.api(&admin, "POST", &format!("/services/ca{path}"), Some(&body))?;
    let words = ["--header", "content-type: application/json", "--data-binary", &body];
    let open = desk.curl(&[&words[..], &[&format!("{TLS}/services/ca{path}")]].concat())?;
    let root = desk.curl_socket("ca", path, &words)?;
    for answer in [through, open, root] {
        ensure!(answer.status == 403, "{answer:?}");
    }
    Ok(())
}

#[test]
fn nobody_reads_the_data_of_another_node_by_its_address() {
    lab::test("rights::nobody_reads_the_data_of_another_node_by_its_address", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=2)?;
        let mine = desk.machine(1).await?;
        desk.until("nid001 has its address", || {
            Ok(desk.dhcp(&mine, &[])?.is_some_and(|it| it.get("ip").is_some_and(|it| it == "172.16.0.1")))
        })
        .await?;
        let data = format!("{PLAIN}/cloud-init/meta-data");
        desk.until("cloud-init knows nid001", || Ok(desk.curl_on(&mine, &[&data])?.status == 200)).await?;
        for base in [PLAIN, TLS] {
            for header in [
                "x-forwarded-for: 172.16.0.2",
                "x-forwarded-for: 172.16.0.2, 172.16.0.2",
                "x-real-ip: 172.16.0.2",
                "forwarded: for=172.16.0.2",
                "x-forwarded-host: 172.16.0.2",
                "connection: x-forwarded-for",
            ] {
                let answer =
                    desk.curl_on(&mine, &["--header", header, &format!("{base}/cloud-init/meta-data")])?;
                ensure!(answer.status == 200 && answer.body.contains("nid001"), "{header}: {answer:?}");
                ensure!(!answer.body.contains("nid002"), "{header}: {answer:?}");
            }
        }
        // A stranger's socket connection is nobody's, whatever it says; root may speak for others.
        let header = ["--header", "x-forwarded-for: 172.16.0.2"];
        let spoken = desk.curl_socket("cloud-init", "/cloud-init/meta-data", &header)?;
        ensure!(spoken.status == 200 && spoken.body.contains("nid002"), "{spoken:?}");
        let stranger = desk.curl_stranger("cloud-init", "/cloud-init/meta-data", &header)?;
        ensure!(stranger.status != 200 && !stranger.body.contains("nid002"), "{stranger:?}");
        // Off the wire's addresses there is no data.
        let head = desk.curl(&["--header", "x-forwarded-for: 172.16.0.2", &data])?;
        ensure!(head.status != 200 && !head.body.contains("nid002"), "{head:?}");
        desk.head.shut_down().await
    });
}

/// Every way to read that one can think of; a service's own paths as its socket knows them.
const ROUTES: [(&str, &[&str]); 10] = [
    (
        "inventory",
        &[
            "/hsm/v2/Inventory/RedfishEndpoints",
            "/hsm/v2/Inventory/RedfishEndpoints/x1000c1s7b1",
            "/hsm/v2/Inventory/RedfishEndpoints/Query/x1000c1s7b1",
            "/hsm/v2/Inventory/ComponentEndpoints",
            "/hsm/v2/Inventory/EthernetInterfaces",
            "/hsm/v2/State/Components",
            "/hsm/v2/State/Components/x1000c1s7b1",
            "/pilothouse/v1/bmcs",
            "/pilothouse/v1/bmcs/x1000c1s7b1",
            "/pilothouse/v1/bmcs/x1000c1s7b1/credential",
            "/pilothouse/v1/bmc-credentials",
            "/pilothouse/v1/bmc-credentials/default",
            "/pilothouse/v1/nodes",
            "/pilothouse/v1/nodes/nid001",
            "/snapshot",
        ],
    ),
    (
        "boot",
        &[
            "/boot/v1/bootparameters",
            "/boot/v1/bootscript?mac=52:54:00:10:00:01",
            "/boot/v1/dumpstate",
            "/boot/v1/hosts",
            "/boot/v1/endpoint-history",
            "/boot/v1/service/status/all",
            "/pilothouse/v1/script/nid001",
            "/snapshot",
        ],
    ),
    (
        "cloud-init",
        &[
            "/cloud-init/",
            "/cloud-init-secure/",
            "/cloud-init/compute",
            "/cloud-init/x1000c1s7b1n0/meta-data",
            "/pilothouse/v1/render/nid001",
            "/snapshot",
        ],
    ),
    ("images", &["/pilothouse/v1/images", "/pins"]),
    ("dhcp", &["/pilothouse/v1/leases", "/pilothouse/v1/unknown"]),
    ("auth", &["/.well-known/jwks.json", "/pilothouse/v1/clients"]),
    ("ca", &["/root.pem"]),
    ("gateway", &[]),
    ("power", &["/pilothouse/v1/power-status", "/power-status"]),
    ("console", &["/remote-console/consoles"]),
];

#[test]
fn a_bmc_password_is_seen_nowhere() {
    lab::test("rights::a_bmc_password_is_seen_nowhere", async |folder| {
        // Put together here, so that our own program does not hold them in one piece.
        let secrets = ["default", "own", "posted"].map(|it| ["canary", it, "Zq7"].join("-"));
        let mut desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=2)?;
        for (scope, secret) in [("default", &secrets[0]), ("x1000c1s7b1", &secrets[1])] {
            let ran =
                desk.pilotctl_with(&["bmc", "set", scope, "--user", "admin"], &format!("{secret}\n"))?;
            ensure!(ran.code == 0 && !format!("{ran:?}").contains("canary"), "{ran:?}");
        }
        let posted = json!({"RedfishEndpoints": [{"ID": "x1000c1s7b9", "FQDN": "x1000c1s7b9", "User": "admin",
            "IPAddress": "172.16.0.109", "Password": secrets[2], "RediscoverOnUpdate": false}]});
        let made = desk.head.client(Service::Inventory);
        let made = made.text(http::Method::POST, "/hsm/v2/Inventory/RedfishEndpoints", Some(&posted)).await?;
        ensure!(!String::from_utf8_lossy(&made).contains("canary"));
        // power and console fetch the accounts; nobody answers at the BMCs' addresses.
        let power = desk.pilotctl(&["power", "status", "nid001", "nid002"])?;
        ensure!(power.code == 3 && !format!("{power:?}").contains("canary"), "{power:?}");

        let admin = desk.token("admin")?;
        for (service, paths) in ROUTES {
            for path in paths.iter().chain(&["/metrics", "/readyz", "/healthz", "/"]) {
                let own = desk.curl_socket(service, path, &[])?;
                let through = desk.api(&admin, "GET", &format!("/services/{service}{path}"), None)?;
                ensure!(!format!("{own:?}{through:?}").contains("canary"), "{service} {path}");
            }
        }
        let endpoints = desk.api(&admin, "GET", "/hsm/v2/Inventory/RedfishEndpoints", None)?;
        ensure!(
            endpoints.body.contains("x1000c1s7b9") && !endpoints.body.contains("canary"),
            "{endpoints:?}"
        );
        check_processes()?;
        check_files(&folder, &secrets)?;
        // With what the databases wrote last.
        desk.head.pg().stop().await?;
        check_files(&folder, &secrets)?;
        desk.head.shut_down().await
    });
}

/// No process shows it in its arguments or environment.
fn check_processes() -> anyhow::Result<()> {
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let folder = entry?.path();
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(folder.join(file)).unwrap_or_default();
            seen += usize::from(!text.is_empty());
            ensure!(!holds(&text, b"canary-"), "{}", folder.join(file).display());
        }
    }
    ensure!(seen > 20, "only {seen} files of processes could be read");
    Ok(())
}

/// No file of the lab holds it: logs, state, the database, sockets' folders.
fn check_files(folder: &Path, secrets: &[String]) -> anyhow::Result<()> {
    let (mut folders, mut seen) = (vec![folder.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_type()?.is_file() {
                // A file that a process has just removed is none.
                let text = std::fs::read(entry.path()).unwrap_or_default();
                seen += 1;
                let shown = secrets.iter().any(|it| holds(&text, it.as_bytes()));
                ensure!(!shown, "{} holds a BMC's password", entry.path().display());
            }
        }
    }
    ensure!(seen > 10, "only {seen} files");
    Ok(())
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|it| it == word)
}
