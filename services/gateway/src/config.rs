//! `[gateway]` of the document.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use domain::document::is_label;
use domain::{Document, Size, Span};
use ipnet::IpNet;
use serde::Deserialize;

use crate::access::Logged;
use crate::limits::Allowance;

/// What the gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) secure_over_http: bool,
    pub(crate) trusted_proxies: Vec<Proxies>,
    pub(crate) body_limit: Size,
    pub(crate) connections: usize,
    pub(crate) connections_per_source: u32,
    pub(crate) requests_per_source: u32,
    pub(crate) burst_per_source: u32,
    pub(crate) connections_per_service: usize,
    pub(crate) header_timeout: Span,
    pub(crate) idle_timeout: Span,
    pub(crate) access_log: Logged,
    pub(crate) public_https: bool,
    pub(crate) issuing: Issuing,
}

/// Who gives the certificate for the head's DNS names. Addresses are ca's in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Issuing {
    /// Our own ca, by ACME.
    Internal,
    /// A public ACME server.
    Public(Public),
    /// The site, in a file.
    File(SiteFile),
}

/// A public ACME server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) directory: String,
    pub(crate) contact: Vec<String>,
    pub(crate) names: Vec<String>,
}

/// A certificate of the site's, renewed by the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteFile {
    /// The chain, PEM.
    pub(crate) file: PathBuf,
    /// The key's credential, without the service's name.
    pub(crate) key: String,
}

/// What the document says of a certificate of the site's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    file: PathBuf,
    key: KeyTable,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    credential: String,
}

/// What the document says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    /// Whether 8081 takes tokens and serves `/cloud-init-secure`, for images that know no https.
    secure_over_http: bool,
    /// Proxies in front of us, `10.0.0.7` or `10.0.0.0/24`, whose `X-Forwarded-For` is believed.
    trusted_proxies: Vec<Proxies>,
    /// The longest body of a request.
    body_limit: Size,
    /// Connections open at once on both ports together; more wait in the kernel's queue.
    connections: usize,
    /// Connections open at once from one address (IPv6: one /64); more are closed at once.
    connections_per_source: u32,
    /// Requests a second from one address (IPv6: one /64), over time; more get 429.
    requests_per_source: u32,
    /// Requests that one address may send at once after a pause.
    burst_per_source: u32,
    /// Requests open at once towards one service; more wait a little, then get 503.
    connections_per_service: usize,
    /// How long a request's head may take from its first byte, and a TLS handshake.
    header_timeout: Span,
    /// How long a connection may stand still while its client should send or read.
    idle_timeout: Span,
    /// Which requests the journal tells of: `all`, `writes` or `none`.
    access_log: Logged,
    /// Whether 443 is open to the site as 8443 is; a public ACME server looks there.
    public_https: bool,
    /// A certificate of the site's: `{ file = "…", key = { credential = "gateway.tls-key" } }`.
    certificate: Option<FileTable>,
    /// A public ACME server instead of our ca; needs `public_https`.
    acme_directory: Option<String>,
    /// Whom that server writes to: `mailto:…`.
    acme_contact: Vec<String>,
    /// The names ordered there; none: the cluster's own.
    public_names: Vec<String>,
}

/// A network of proxies, or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Proxies(IpNet);

impl Default for Table {
    fn default() -> Self {
        Self {
            secure_over_http: false,
            trusted_proxies: Vec::new(),
            body_limit: Size(16 << 20),
            connections: 8192,
            connections_per_source: 512,
            requests_per_source: 5_000,
            burst_per_source: 20_000,
            connections_per_service: 1024,
            header_timeout: Span(Duration::from_secs(10)),
            idle_timeout: Span(Duration::from_secs(60)),
            access_log: Logged::Writes,
            public_https: false,
            certificate: None,
            acme_directory: None,
            acme_contact: Vec::new(),
            public_names: Vec::new(),
        }
    }
}

impl Config {
    /// Reads and checks the table.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(document: &Document) -> anyhow::Result<Self> {
        let table: Table = document.gateway.clone().try_into().context("read [gateway]")?;
        let issuing = table.issuing(document)?;
        let config = Self {
            secure_over_http: table.secure_over_http,
            trusted_proxies: table.trusted_proxies,
            body_limit: table.body_limit,
            connections: table.connections,
            connections_per_source: table.connections_per_source,
            requests_per_source: table.requests_per_source,
            burst_per_source: table.burst_per_source,
            connections_per_service: table.connections_per_service,
            header_timeout: table.header_timeout,
            idle_timeout: table.idle_timeout,
            access_log: table.access_log,
            public_https: table.public_https,
            issuing,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let config = self;
        let within = |key: &str, value: usize, least: usize, most: usize| {
            anyhow::ensure!(
                (least..=most).contains(&value),
                "gateway.{key} is {least} to {most}, not {value}"
            );
            Ok(())
        };
        within("connections", config.connections, 16, 100_000)?;
        within("connections_per_source", config.connections_per_source as usize, 1, 100_000)?;
        within("requests_per_source", config.requests_per_source as usize, 1, 1_000_000)?;
        within("burst_per_source", config.burst_per_source as usize, 1, 10_000_000)?;
        within("connections_per_service", config.connections_per_service, 1, 8192)?;
        anyhow::ensure!(
            (1024..=1 << 40).contains(&config.body_limit.0),
            "gateway.body_limit is 1KiB to 1024GiB, not {}",
            config.body_limit
        );
        let hour = Duration::from_secs(3600);
        for (key, span) in [("header_timeout", config.header_timeout), ("idle_timeout", config.idle_timeout)]
        {
            anyhow::ensure!(
                (Duration::from_millis(100)..=hour).contains(&span.0),
                "gateway.{key} is 100ms to 1h, not {span}"
            );
        }
        Ok(())
    }

    /// What one source may have.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance {
            connections: self.connections_per_source,
            rate: self.requests_per_source,
            burst: self.burst_per_source,
        }
    }

    /// Whether what this peer says of its clients is believed.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|it| it.0.contains(&address))
    }
}

impl Table {
    fn issuing(&self, document: &Document) -> anyhow::Result<Issuing> {
        if let Some(directory) = &self.acme_directory {
            anyhow::ensure!(
                self.certificate.is_none(),
                "gateway.certificate and acme_directory exclude each other"
            );
            anyhow::ensure!(
                self.public_https,
                "gateway.acme_directory needs gateway.public_https = true: its server looks at port 443"
            );
            anyhow::ensure!(directory.starts_with("https://"), "gateway.acme_directory is an https URL");
            let own = || vec![document.cluster.service_name()];
            let names = if self.public_names.is_empty() { own() } else { self.public_names.clone() };
            let wrong = names.iter().find(|it| it.len() > 253 || !it.split('.').all(is_label));
            if let Some(wrong) = wrong {
                anyhow::bail!("gateway.public_names: {wrong:?} is no DNS name in small letters");
            }
            let contact = self.acme_contact.clone();
            return Ok(Issuing::Public(Public { directory: directory.clone(), contact, names }));
        }
        let unused = !self.acme_contact.is_empty() || !self.public_names.is_empty();
        anyhow::ensure!(!unused, "gateway.acme_contact and public_names mean nothing without acme_directory");
        let Some(FileTable { file, key }) = &self.certificate else { return Ok(Issuing::Internal) };
        let name =
            key.credential.strip_prefix("gateway.").filter(|it| it.split(['.', '-', '_']).all(is_word));
        let name = name.context("gateway.certificate.key.credential is named gateway.<name>")?;
        anyhow::ensure!(file.is_absolute(), "gateway.certificate.file is a full path");
        Ok(Issuing::File(SiteFile { file: file.clone(), key: name.to_owned() }))
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric())
}

impl FromStr for Proxies {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = text.parse::<IpAddr>().map(IpNet::from);
        one.or_else(|_| text.parse::<IpNet>())
            .map(Self)
            .map_err(|_| format!("{text:?} is no address and no network; write 10.0.0.7 or 10.0.0.0/24"))
    }
}

impl TryFrom<String> for Proxies {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{Config, Issuing, SiteFile};

    fn parse(table: &str) -> anyhow::Result<Config> {
        let head = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n[gateway]\n";
        Config::parse(&domain::Document::parse(&format!("{head}{table}")).unwrap())
    }

    #[test]
    fn without_a_table_the_defaults_hold() {
        let config = parse("").unwrap();
        assert!(!config.secure_over_http);
        assert_eq!(config.body_limit.0, 16 << 20);
        assert!(!config.trusts("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let config = parse("trusted_proxies = ['127.0.0.0/8', '::1']").unwrap();
        for (address, trusted) in [("127.0.0.9", true), ("::1", true), ("::2", false), ("10.0.0.1", false)] {
            assert_eq!(config.trusts(address.parse().unwrap()), trusted, "{address}");
        }
    }

    #[test]
    fn one_gives_the_certificate() {
        let issuing = |table: &str| parse(table).unwrap().issuing;
        assert_eq!(issuing(""), Issuing::Internal);
        let file = "certificate = { file = '/srv/c.pem', key = { credential = 'gateway.tls-key' } }";
        let expected = SiteFile { file: "/srv/c.pem".into(), key: "tls-key".to_owned() };
        assert_eq!(issuing(file), Issuing::File(expected));
        let public = "public_https = true\nacme_directory = 'https://acme.example/d'";
        let Issuing::Public(it) = issuing(public) else { panic!() };
        assert_eq!(it.names, ["demo.openchami.cluster"]);
        for table in [
            format!("{public}\n{file}"),
            public.replace("true", "false"),
            public.replace("https://", "http://"),
            format!("{public}\npublic_names = ['*.x']"),
            "acme_contact = ['mailto:a@b']".to_owned(),
            file.replace("gateway.", "ca."),
            file.replace("gateway.tls-key", "gateway./../x"),
            file.replace("/srv", "srv"),
        ] {
            assert!(parse(&table).is_err(), "{table}");
        }
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        for table in [
            "secure_over_htp = true",
            "trusted_proxies = ['nowhere']",
            "body_limit = '1B'",
            "connections = 0",
            "requests_per_source = 0",
            "access_log = 'some'",
            "header_timeout = '0s'",
            "idle_timeout = '2h'",
        ] {
            assert!(parse(table).is_err(), "{table}");
        }
    }
}
