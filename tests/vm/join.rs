//! Nodes get a munge key's stand-in by each of the three ways to a token, on virtual machines.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use http::Method;
use serde_json::{Value, json};
use tests::demo::{Demo, Kind, Place};
use tests::program::is_whole;
use tests::{Head, Node, lab};

/// How long a boot may take to its end.
const BOOT_MAX: Duration = Duration::from_secs(240);
const POLICY: &str = "join.policy={ compute = 'push', login = 'nonce', secure = 'tpm' }";

fn head(demo: &Demo) -> anyhow::Result<&Head> {
    match &demo.place {
        Place::Processes(head) => Ok(head),
        Place::Machine(_) => anyhow::bail!("the head is a machine"),
    }
}

/// What the secret is called on the console.
fn mark(group: &str) -> String {
    format!("the munge key of group {group} is here")
}

async fn give(head: &Head, method: Method, path: &str, body: &Value) -> anyhow::Result<()> {
    let client = head.client(Service::CloudInit);
    client.text(method, path, Some(body)).await.map(drop).with_context(|| path.to_owned())
}

/// The first stage lets the head in, and tells it when it is over; the second brings the secret.
async fn give_data(demo: &Demo) -> anyhow::Result<()> {
    let head = head(demo)?;
    let key = head.pilotctl(&["join", "key"], "")?;
    let first = json!({"disable_root": false, "ssh_authorized_keys": [key.trim()],
        "phone_home": {"url": "http://172.16.0.254:8081/phone-home", "post": "all", "tries": 3}});
    let data = |group: &str, userdata: &Value| json!({"name": group, "cloud-init": {"userdata": userdata, "metadata": {"instance-id": format!("i-{group}")}}});
    give(head, Method::PUT, "/cloud-init/compute", &data("compute", &first)).await?;
    for group in ["compute", "login", "secure"] {
        let file = "/etc/munge.key";
        let secret = json!({
            "write_files": [{"path": file, "content": format!("{}\n", mark(group)), "permissions": "0400"}],
            "runcmd": [["sh", "-c", format!("cat {file} >/dev/console")]],
        });
        // The demo has set a secret for `compute` already.
        let (method, path) = if group == "compute" {
            (Method::PUT, "/cloud-init-secure/compute")
        } else {
            (Method::POST, "/cloud-init-secure/")
        };
        give(head, method, path, &data(group, &secret)).await?;
    }
    Ok(())
}

#[test]
fn nodes_get_their_secrets_by_each_way() {
    lab::test_aloud("join::nodes_get_their_secrets_by_each_way", async |folder| {
        let nodes = [
            Node::demo(1),
            Node::demo(2).in_group("login"),
            Node::demo(4).in_group("login"),
            Node::demo(3).in_group("secure").with_tpm(),
        ];
        let mut demo = Demo::start_set(&folder, Kind::Processes, &nodes, nodes.len(), &[POLICY]).await?;
        give_data(&demo).await?;
        let key = demo.bmc(3)?.tpm().context("nid003 has a TPM")?.endorsement_key();
        let words = ["join", "enroll", "nid003", "--ek", key.to_str().context("a path")?];
        head(&demo)?.pilotctl(&words, "")?;
        // Over SSH, which the head image's test shows as well; by a nonce with UEFI, and with BIOS; by the TPM.
        let ways = [(1, "compute"), (2, "login"), (4, "login"), (3, "secure")];
        let ways = if is_whole() { &ways[..] } else { &ways[2..] };
        for &(nid, group) in ways {
            demo.power_on(nid)?;
            let console = demo.bmc(nid)?.console();
            let told = console.wait_for(&mark(group), BOOT_MAX).await;
            told.with_context(|| format!("{}\n{}", console.tail(40), demo.place.complaints()))?;
            let name = demo.bmc(nid)?.node().name();
            demo.steps.reach(&name, "secret");
            console.wait_for(" login: ", BOOT_MAX).await?;
            if group != "compute" {
                let text = console.text();
                ensure!(text.find(&mark(group)) < text.find(" login: "), "{name}: after log-in");
            }
            demo.place.pilotctl(&["power", "off", &name], "")?;
        }
        eprintln!("{}", demo.steps.table());
        demo.place.shut_down().await
    });
}
