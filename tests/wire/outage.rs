//! PostgreSQL and the inventory are gone: known nodes boot as before.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use domain::Service;
use http::Method;
use serde_json::json;
use tests::net::Client;
use tests::{HeadOptions, Node, lab};

use crate::desk::{Answer, Desk, Given, PLAIN, TLS};

/// What serves a boot.
const DATA_PLANE: [Service; 3] = [Service::Dhcp, Service::Boot, Service::CloudInit];

/// Everything a machine is told on its way up.
#[derive(Debug, PartialEq, Eq)]
struct Boot {
    firmware: Given,
    ipxe: Given,
    system: Given,
    files: BTreeMap<&'static str, (u16, String)>,
}

impl Boot {
    /// Asks for it as the machine would: by DHCP three times, then over HTTP from its own address.
    fn of(desk: &Desk, machine: &Client, node: &Node) -> anyhow::Result<Self> {
        let dhcp = |words: &[&str]| {
            let given = desk.dhcp(machine, words)?;
            given.with_context(|| format!("no lease for {}\n{}", node.name(), desk.head.tails(15)))
        };
        let firmware = dhcp(&["-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007", "-O", "67"])?;
        let ipxe = dhcp(&["-x", "0x4d:69505845", "-O", "67"])?;
        let system = dhcp(&["-O", "42"])?;
        let script = ipxe.get("boot_file").context("iPXE is given no script")?;
        let part = |it: &str| format!("{PLAIN}/cloud-init/{it}");
        let mut files = BTreeMap::new();
        for (name, url) in [
            ("script", script.clone()),
            ("meta-data", part("meta-data")),
            ("user-data", part("user-data")),
            ("vendor-data", part("vendor-data")),
            ("network-config", part("network-config")),
        ] {
            let Answer { status, body, .. } = desk.curl_on(machine, &[&url])?;
            files.insert(name, (status, body));
        }
        Ok(Self { firmware, ipxe, system, files })
    }

    fn check(&self, node: &Node) -> anyhow::Result<()> {
        ensure!(self.system.get("ip") == Some(&node.address().to_string()), "{self:?}");
        ensure!(self.system.get("hostname") == Some(&node.name()), "{self:?}");
        ensure!(self.firmware.get("boot_file").is_some_and(|it| it == "snponly.efi"), "{self:?}");
        ensure!(self.files.values().all(|it| it.0 == 200), "{self:?}");
        for (file, word) in [
            ("script", "/compute/latest/vmlinuz-6.12".to_owned()),
            ("script", node.xname()),
            ("meta-data", node.name()),
            ("user-data", crate::desk::KEY.to_owned()),
        ] {
            ensure!(self.files[file].1.contains(&word), "{word} is not in {file}: {self:?}");
        }
        Ok(())
    }
}

#[test]
fn known_nodes_boot_without_database_and_inventory() {
    lab::test("outage::known_nodes_boot_without_database_and_inventory", async |folder| {
        let mut desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=2)?;
        let own = json!({"name": Node::demo(2).xname(), "cloud-init": {"metadata": {"role": "login"}}});
        desk.head.client(Service::CloudInit).text(Method::POST, "/cloud-init/", Some(&own)).await?;
        let mut machines = Vec::new();
        for nid in 1..=2 {
            machines.push((Node::demo(nid), desk.machine(nid).await?));
        }
        let boots = |desk: &Desk| -> anyhow::Result<Vec<Boot>> {
            machines.iter().map(|(node, machine)| Boot::of(desk, machine, node)).collect()
        };
        desk.head.settle().await?;
        desk.until("dhcp knows the nodes", || {
            let answer = desk.curl_socket("dhcp", "/pilothouse/v1/leases?mac=52:54:00:10:00:02", &[])?;
            Ok(answer.body.contains("172.16.0.2"))
        })
        .await?;
        let before = boots(&desk)?;
        for ((node, _), boot) in machines.iter().zip(&before) {
            boot.check(node)?;
        }
        ensure!(before[1].files["meta-data"].1.contains("role: login"), "{:?}", before[1]);
        let token = desk.token("admin")?;

        desk.head.pg().stop().await?;
        ensure!(boots(&desk)? == before, "without PostgreSQL");
        refuse_writes(&desk, &token)?;
        desk.head.stop(Service::Inventory).await?;
        ensure!(boots(&desk)? == before, "without the inventory");
        for service in DATA_PLANE {
            desk.head.stop(service).await?;
            desk.head.resume(service).await?;
        }
        ensure!(boots(&desk)? == before, "after restarts");
        for service in DATA_PLANE {
            desk.head.kill(service).await?;
        }
        for service in DATA_PLANE {
            desk.head.resume(service).await?;
        }
        ensure!(boots(&desk)? == before, "after crashes");
        check_tokens(&mut desk, &token).await?;
        for service in [Service::Boot, Service::CloudInit] {
            let ready = desk.curl_socket(service.name(), "/readyz", &[])?;
            ensure!(ready.status == 200 && ready.body.contains("last"), "{ready:?}");
        }

        desk.head.pg().resume().await?;
        desk.head.resume(Service::Inventory).await?;
        desk.head.settle().await?;
        ensure!(boots(&desk)? == before, "after the return");
        newcomer(&desk).await?;
        let entry = json!({"name": "other", "cloud-init": {"metadata": {"a": "b"}}}).to_string();
        let written = desk.api(&token, "POST", "/cloud-init/", Some(&entry))?;
        ensure!(written.status == 200, "{written:?}");
        desk.head.shut_down().await
    });
}

/// Every write is refused as long as the database is gone, and says when to come back.
fn refuse_writes(desk: &Desk, token: &str) -> anyhow::Result<()> {
    let boot = json!({"macs": ["52:54:00:10:00:01"], "kernel": "http://h/k"}).to_string();
    let entry = json!({"name": "other", "cloud-init": {"metadata": {"a": "b"}}}).to_string();
    let group = json!({"label": "other"}).to_string();
    let component = json!({"Components": [{"ID": "x1c0s0b0n0", "State": "On"}]}).to_string();
    let client = json!({"id": "ci", "role": "viewer"}).to_string();
    let node = Node::demo(2).xname();
    let one_component = format!("/hsm/v2/State/Components/{node}");
    let state = json!({"State": "Off"}).to_string();
    let number = json!({"NID": 99}).to_string();
    let interface = json!({"MACAddress": "52:54:00:99:00:01", "IPAddresses": []}).to_string();
    let endpoint = json!({"ID": "x9c0s0b0", "IPAddress": "172.16.0.199"}).to_string();
    let member = json!({"id": node}).to_string();
    let current = json!({"name": "present", "meta-data": {"a": "b"}}).to_string();
    let defaults = json!({"short-name": "nid"}).to_string();
    let state_of = format!("{one_component}/StateData");
    let nid_of = format!("{one_component}/NID");
    for (method, path, body) in [
        ("PUT", "/boot/v1/bootparameters", &boot),
        ("POST", "/boot/v1/bootparameters", &boot),
        ("PATCH", "/boot/v1/bootparameters", &boot),
        ("DELETE", "/boot/v1/bootparameters", &boot),
        ("POST", "/cloud-init/", &entry),
        ("PUT", "/cloud-init/other", &entry),
        ("POST", "/cloud-init/admin/groups", &current),
        ("PUT", "/cloud-init/admin/groups/present", &current),
        ("POST", "/cloud-init/admin/cluster-defaults", &defaults),
        ("POST", "/hsm/v2/groups", &group),
        ("POST", "/hsm/v2/groups/compute/members", &member),
        ("POST", "/hsm/v2/State/Components", &component),
        ("PATCH", &state_of, &state),
        ("PATCH", &nid_of, &number),
        ("DELETE", &one_component, &String::new()),
        ("POST", "/hsm/v2/Inventory/EthernetInterfaces", &interface),
        ("POST", "/hsm/v2/Inventory/RedfishEndpoints", &endpoint),
        ("PUT", "/services/inventory/pilothouse/v1/nodes", &tests::node::nodes_yaml(&[Node::demo(9)])),
        ("POST", "/services/auth/pilothouse/v1/clients", &client),
    ] {
        let answer = desk.api(token, method, path, Some(body))?;
        let again = answer.headers.get("retry-after").and_then(|it| it.parse::<u32>().ok());
        ensure!(answer.status == 503 && again.is_some_and(|it| it > 0), "{method} {path}: {answer:?}");
    }
    let nodes = desk.api(token, "GET", "/hsm/v2/State/Components?type=Node", None)?;
    ensure!(nodes.status == 200 && nodes.body.contains(&Node::demo(2).xname()), "{nodes:?}");
    let import = desk.pilotctl_with(&["nodes", "import", "-"], &tests::node::nodes_yaml(&[Node::demo(9)]))?;
    ensure!(import.code == 1 && import.err.contains("the database"), "{import:?}");
    Ok(())
}

/// Old and new tokens are good, and the gateway shows the same authority; also after both crashed.
async fn check_tokens(desk: &mut Desk, token: &str) -> anyhow::Result<()> {
    let read = |desk: &Desk, token: &str| desk.api(token, "GET", "/boot/v1/bootparameters", None);
    let answer = read(desk, token)?;
    ensure!(answer.status == 200 && answer.body.contains("52:54:00:10:00:01"), "{answer:?}");
    ensure!(read(desk, "x.y.z")?.status == 401);
    for service in [Service::Auth, Service::Gateway, Service::Ca] {
        desk.head.kill(service).await?;
        desk.head.resume(service).await?;
    }
    let fresh = desk.token("viewer")?;
    for token in [token, &fresh] {
        let answer = read(desk, token)?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    let keys = desk.curl(&[&format!("{TLS}/.well-known/jwks.json")])?;
    ensure!(keys.status == 200, "{keys:?}");
    let root = desk.curl(&[&format!("{PLAIN}/root.pem")])?;
    ensure!(root.status == 200 && root.body.contains("BEGIN CERTIFICATE"), "{root:?}");
    Ok(())
}

/// A node that is imported now boots soon, though no service was restarted since.
async fn newcomer(desk: &Desk) -> anyhow::Result<()> {
    let (node, machine) = (Node::demo(3), desk.machine(3).await?);
    desk.import(3..=3)?;
    desk.until("dhcp and cloud-init know the new node", || {
        let own = desk.dhcp(&machine, &[])?.and_then(|it| it.get("ip").cloned());
        if own != Some(node.address().to_string()) {
            return Ok(false);
        }
        Ok(desk.curl_on(&machine, &[&format!("{PLAIN}/cloud-init/meta-data")])?.status == 200)
    })
    .await?;
    Boot::of(desk, &machine, &node)?.check(&node)
}
