//! What a CoreDHCP configuration says, as tables of the document. Both forms of coresmd are read: 0.3 by position,
//! 0.5 and later by `key=value`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use domain::MacAddr;
use serde::Deserialize;

use crate::error::Failure;

/// A configuration is at most this long.
const SIZE_MAX: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
struct File {
    server4: Option<Server>,
    server6: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Server {
    #[serde(default)]
    plugins: Vec<BTreeMap<String, Option<Scalar>>>,
    listen: Option<serde_json::Value>,
}

/// A plugin's words; a single number is YAML's number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Whole(i64),
    Switch(bool),
}

/// What was understood.
#[derive(Debug, Default)]
struct Found {
    head: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    router: Option<Ipv4Addr>,
    mask: Option<Ipv4Addr>,
    pool: Option<(Ipv4Addr, Ipv4Addr)>,
    mtu: Option<u16>,
    lease_s: Option<u64>,
    pool_lease_s: Option<u64>,
    domain: Option<String>,
    search: Vec<String>,
    reservations: Vec<(MacAddr, Ipv4Addr)>,
    /// What has no counterpart, or needs none.
    remarks: Vec<String>,
}

pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let fail = |it: &dyn std::fmt::Display| Failure::failed(format!("{}: {it}", path.display()));
    let size = std::fs::metadata(path).map_err(|it| fail(&it))?.len();
    if size > SIZE_MAX {
        return Err(fail(&format!("{size} bytes are no CoreDHCP configuration")));
    }
    let text = std::fs::read_to_string(path).map_err(|it| fail(&it))?;
    let beside =
        |file: &str| std::fs::read_to_string(path.parent().unwrap_or(Path::new(".")).join(file)).ok();
    print!("{}", translate(&text, beside).map_err(|it| fail(&it))?);
    Ok(())
}

/// The tables, or why the text makes no sense. `beside` reads a file that the configuration names.
fn translate(text: &str, beside: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|it| it.to_string())?;
    let server = file.server4.ok_or("it has no server4; CoreDHCP's configuration begins with it")?;
    let mut found = Found::default();
    if file.server6.is_some() {
        found.remarks.push("server6: there is no DHCPv6".to_owned());
    }
    if let Some(listen) = &server.listen {
        found.remarks.push(format!("listen {listen}: a plane's interface says where dhcp answers"));
    }
    for plugin in &server.plugins {
        for (name, words) in plugin {
            let text = match words {
                None => String::new(),
                Some(Scalar::Text(it)) => it.clone(),
                Some(Scalar::Whole(it)) => it.to_string(),
                Some(Scalar::Switch(it)) => it.to_string(),
            };
            let words: Vec<&str> = text.split_whitespace().collect();
            found.take(name, &words, &beside)?;
        }
    }
    Ok(found.print())
}

impl Found {
    fn take(
        &mut self,
        name: &str,
        words: &[&str],
        beside: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let first = words.first().copied().unwrap_or_default();
        let bad = || format!("{name}: {:?} makes no sense", words.join(" "));
        let ip = |it: &str| it.parse::<Ipv4Addr>().map_err(|_| bad());
        match name {
            "server_id" => self.head = Some(ip(first)?),
            "dns" => self.dns = words.iter().map(|it| ip(it)).collect::<Result<_, _>>()?,
            "router" => self.router = Some(ip(first)?),
            "netmask" => self.mask = Some(ip(first)?),
            "mtu" => self.mtu = Some(first.parse().map_err(|_| bad())?),
            "lease_time" => self.lease_s = Some(duration(first).ok_or_else(bad)?),
            "searchdomains" => self.search = words.iter().map(|it| (*it).to_owned()).collect(),
            "range" if words.len() >= 4 => {
                self.pool = Some((ip(words[1])?, ip(words[2])?));
                self.pool_lease_s = duration(words[3]);
            }
            "file" => self.take_file(first, beside),
            "coresmd" if words.iter().any(|it| it.contains('=')) => self.take_coresmd(words),
            "coresmd" => {
                self.lease_s = words.get(4).and_then(|it| duration(it)).or(self.lease_s);
                self.remark_addresses(&words[..words.len().min(3)]);
            }
            "bootloop" if words.iter().any(|it| it.contains('=')) => self.take_bootloop(words)?,
            "bootloop" if words.len() >= 5 => {
                self.pool_lease_s = duration(words[2]);
                self.pool = Some((ip(words[3])?, ip(words[4])?));
                self.remark_bootloop(words[1]);
            }
            _ => self.remarks.push(format!("{name} {}: no counterpart", words.join(" "))),
        }
        Ok(())
    }

    fn take_coresmd(&mut self, words: &[&str]) {
        for word in words {
            match word.split_once('=') {
                Some(("lease_time", value)) => self.lease_s = duration(value).or(self.lease_s),
                Some(("domain", value)) => self.domain = Some(value.to_owned()),
                Some(("svc_base_uri" | "ipxe_base_uri" | "ca_cert" | "cache_valid" | "single_port", _)) => {
                    self.remark_addresses(&[word]);
                }
                Some(("rule", rule)) => {
                    let place =
                        "options by dhcp.subnets, dhcp.groups and dhcp.nodes; names by cluster.host_pattern";
                    self.remarks.push(format!("rule={rule}: write it as {place}"));
                }
                _ => self.remarks.push(format!("coresmd {word}: no counterpart")),
            }
        }
    }

    fn take_bootloop(&mut self, words: &[&str]) -> Result<(), String> {
        let (mut start, mut end) = (None, None);
        for word in words {
            match word.split_once('=') {
                Some(("lease_time", value)) => self.pool_lease_s = duration(value),
                Some(("ipv4_start", value)) => start = value.parse().ok(),
                Some(("ipv4_end", value)) => end = value.parse().ok(),
                Some(("script_path", value)) => self.remark_bootloop(value),
                Some(("lease_file", _)) => {}
                _ => self.remarks.push(format!("bootloop {word}: write a range in network.planes.subnets")),
            }
        }
        self.pool = start.zip(end).or(self.pool);
        Ok(())
    }

    /// `MAC IP` a line.
    fn take_file(&mut self, name: &str, beside: &impl Fn(&str) -> Option<String>) {
        let Some(text) = beside(name) else {
            return self
                .remarks
                .push(format!("file {name}: it cannot be read; its lines are dhcp.reservations"));
        };
        for line in text.lines().map(|it| it.split('#').next().unwrap_or_default()) {
            let mut words = line.split_whitespace();
            let pair = words.next().zip(words.next());
            match pair.and_then(|(mac, ip)| Some((mac.parse().ok()?, ip.parse().ok()?))) {
                Some(pair) => self.reservations.push(pair),
                None if line.trim().is_empty() => {}
                None => self.remarks.push(format!("file {name}: {line:?} is no MAC and IPv4 address")),
            }
        }
    }

    fn remark_addresses(&mut self, words: &[&str]) {
        let why = "the inventory is on this head, and followed as it changes";
        self.remarks.push(format!("coresmd {}: needed no more, {why}", words.join(" ")));
    }

    fn remark_bootloop(&mut self, script: &str) {
        self.remarks.push(format!(
            "bootloop's script {script}: unknown machines boot the discovery entry; pilotctl boot params set --default"
        ));
    }

    fn print(&self) -> String {
        let mut text = String::new();
        let mut line = |it: String| text.write_str(&(it + "\n")).unwrap_or_default();
        for remark in &self.remarks {
            line(format!("# {}", remark.replace(char::is_control, " ")));
        }
        let quoted = |it: &dyn std::fmt::Display| format!("{:?}", it.to_string());
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        let net = self.head.zip(self.mask).and_then(|(ip, mask)| ipnet::Ipv4Net::with_netmask(ip, mask).ok());
        if let Some(domain) = &self.domain {
            line(format!("# cluster.domain = {}", quoted(domain)));
        }
        line("\n[[network.planes]]\nname = \"nodes\"\nkind = \"nodes\"".to_owned());
        line("interface = \"eth1\" # the NIC towards the nodes, by name or MAC".to_owned());
        match net {
            Some(net) => line(format!("addresses = [{}]", quoted(&net))),
            None => line("# addresses = [\"HEAD/PREFIX\"]: server_id and netmask do not say".to_owned()),
        }
        line("[[network.planes.subnets]]".to_owned());
        line(net.map_or("# cidr = \"NETWORK\"".to_owned(), |it| format!("cidr = {}", quoted(&it.trunc()))));
        if let Some((first, last)) = self.pool {
            line(format!("range = \"{first}-{last}\""));
        }
        if let Some(router) = self.router {
            line(format!("router = {}", quoted(&router)));
        }
        if !self.dns.is_empty() {
            line(format!("dns = {}", list(self.dns.iter().map(|it| quoted(it)).collect())));
        }
        if let Some(mtu) = self.mtu {
            line(format!("mtu = {mtu}"));
        }
        line("\n[dhcp]".to_owned());
        if let Some(lease_s) = self.lease_s {
            line(format!("lease_s = {}", lease_s.max(600)));
        }
        if let Some(lease_s) = self.pool_lease_s {
            line(format!("pool_lease_s = {}", lease_s.clamp(60, 86_400)));
        }
        for (mac, ip) in &self.reservations {
            line(format!("[[dhcp.reservations]]\nmac = {}\nip = {}", quoted(mac), quoted(ip)));
        }
        if !self.search.is_empty() {
            let names = list(self.search.iter().map(|it| quoted(it)).collect());
            line(format!("[dhcp.options]\nsearch = {names}"));
        }
        text
    }
}

/// Go's durations of whole units, `1h30m`, in seconds.
fn duration(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0u64, String::new());
    for letter in text.chars() {
        let unit = match letter {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            digit if digit.is_ascii_digit() => {
                number.push(digit);
                continue;
            }
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    (number.is_empty() && !text.is_empty()).then_some(total)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{duration, translate};

    const OLD: &str = r#"
server4:
  listen:
    - "%virbr-openchami"
  plugins:
    - server_id: 172.16.0.254
    - dns: 172.16.0.254 1.1.1.1
    - router: 172.16.0.254
    - netmask: 255.255.255.0
    - mtu: 1500
    - coresmd: https://demo.openchami.cluster:8443 http://172.16.0.254:8081 /root_ca/root_ca.crt 30s 1h false
    - file: leases.txt
    - bootloop: /tmp/coredhcp.db default 5m 172.16.0.200 172.16.0.250
"#;
    const NEW: &str = r#"
server4:
  plugins:
    - server_id: 172.16.0.254
    - netmask: 255.255.255.0
    - coresmd: svc_base_uri=https://demo:8443 ipxe_base_uri=http://172.16.0.254:8081 lease_time=1h30m domain=a.b rule=type:Node,hostname:nid{04d}
    - bootloop: lease_file=/tmp/x script_path=default lease_time=10m ipv4_start=172.16.0.156 ipv4_end=172.16.0.200
    - sleep: 1s
"#;

    /// What is printed is a document, once it is given its cluster.
    fn document(text: &str) -> domain::Document {
        let cluster = "version = 1\ncluster = { name = \"demo\", domain = \"cluster.example\" }\n";
        domain::Document::parse(&format!("{cluster}{text}")).unwrap_or_else(|it| panic!("{it}: {text}"))
    }

    #[test]
    fn both_forms_become_tables_of_the_document() {
        let lines = |_: &str| Some("02:00:00:00:00:09 172.16.0.9 # a switch\n\n".to_owned());
        let text = translate(OLD, lines).unwrap();
        let found = document(&text);
        let plane = &found.network.planes[0];
        assert_eq!(plane.address().unwrap().to_string(), "172.16.0.254/24");
        assert_eq!(String::from(plane.range().unwrap()), "172.16.0.200-172.16.0.250");
        assert_eq!((plane.subnets[0].dns.len(), plane.subnets[0].mtu), (2, Some(1500)));
        assert_eq!(found.dhcp["lease_s"].as_integer(), Some(3600));
        assert_eq!(found.dhcp["pool_lease_s"].as_integer(), Some(300));
        assert_eq!(found.dhcp["reservations"][0]["ip"].as_str(), Some("172.16.0.9"));
        let text = translate(NEW, |_| None).unwrap();
        let found = document(&text);
        assert_eq!(String::from(found.network.planes[0].range().unwrap()), "172.16.0.156-172.16.0.200");
        assert_eq!(found.dhcp["lease_s"].as_integer(), Some(5400));
        for remark in ["# rule=type:Node", "# sleep 1s: no counterpart", "# cluster.domain = \"a.b\""] {
            assert!(text.contains(remark), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "a: 1", "server4:\n  plugins:\n    - dns: nowhere\n", "server4:\n  plugins: 7\n"] {
            assert!(translate(text, |_| None).is_err(), "{text}");
        }
        assert_eq!(
            (duration("1h30m"), duration("5"), duration("x"), duration("")),
            (Some(5400), None, None, None)
        );
    }
}
