//! The gateway's certificates are replaced while it serves, by ACME, and nobody notices.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::Service;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tests::{HeadOptions, lab, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::desk::Desk;

/// The number; by the clock that is 20 times two thirds of a minute.
const ROTATIONS: usize = 20;
/// How long one may take.
const ROTATION_MAX: Duration = Duration::from_secs(60);
const NAME: &str = "demo.openchami.cluster";

/// Who asks, as any client would: verified by the root, with tickets, over new connections and kept ones.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    connector: TlsConnector,
}

impl Client {
    fn new(address: SocketAddr, root: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, connector: TlsConnector::from(Arc::new(config)) })
    }

    async fn connect(&self, name: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        let name = ServerName::try_from(name.to_owned())?;
        self.connector.connect(name, stream).await.context("shake hands")
    }

    /// The certificate that is shown to who asks for this name.
    async fn shown(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let stream = self.connect(name).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|it| it.first().map(|it| it.to_vec()));
        shown.context("no certificate")
    }

    /// Asks until it is told to stop; how often.
    async fn ask(self, keeps: bool, stop: Arc<AtomicBool>) -> anyhow::Result<usize> {
        let (mut count, mut kept) = (0, None);
        // Constant, not all that the machine can do: the rotation shares it.
        let mut pace = tokio::time::interval(Duration::from_millis(2));
        while !stop.load(Ordering::Relaxed) {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => self.connect(NAME).await?,
            };
            ask_once(&mut stream).await.with_context(|| format!("request {count}, kept: {keeps}"))?;
            kept = keeps.then_some(stream);
            count += 1;
            pace.tick().await;
        }
        Ok(count)
    }
}

async fn ask_once(stream: &mut TlsStream<TcpStream>) -> anyhow::Result<()> {
    stream.write_all(b"GET /services/ca/root.pem HTTP/1.1\r\nhost: demo\r\n\r\n").await?;
    let mut text = Vec::new();
    while !text.windows(25).any(|it| it == b"-----END CERTIFICATE-----") {
        ensure!(stream.read_buf(&mut text).await? > 0, "the connection ended: {text:?}");
    }
    ensure!(text.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&text));
    Ok(())
}

/// What the gateway says of its certificate for names.
fn told(desk: &Desk) -> Value {
    let text = std::fs::read(desk.head.sockets().join("gateway/certificates.json")).unwrap_or_default();
    let told: Value = serde_json::from_slice(&text).unwrap_or_default();
    told[1].clone()
}

/// Waits for another one than this; its serial number.
async fn next_serial(desk: &Desk, last: &str) -> anyhow::Result<String> {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let changed = async {
        loop {
            match told(desk)["serial"].as_str() {
                Some(serial) if serial != last => return serial.to_owned(),
                _ => tick.tick().await,
            };
        }
    };
    let changed = tokio::time::timeout(ROTATION_MAX, changed).await;
    changed.with_context(|| format!("no new certificate: {}\n{}", told(desk), desk.head.tails(10)))
}

#[test]
fn twenty_certificates_pass_under_load_and_no_request_fails() {
    lab::test("rotation::twenty_certificates_pass_under_load_and_no_request_fails", async |folder| {
        let minute = ["ca.leaf_life=\"60s\"", "ca.profiles.default.life=\"60s\""];
        let desk = Desk::open_set(&folder, HeadOptions::default(), &minute).await?;
        let mut serial = next_serial(&desk, "").await?;
        let names = told(&desk)["names"].to_string();
        ensure!(names.contains(NAME) && !names.contains("172.16"), "the names alone are ordered: {names}");
        let address = desk.head.address(Service::Gateway, "tls").context("the gateway's port")?;
        let root = desk.head.pilotctl(&["ca-cert"], "")?;
        let client = Client::new(address, &root)?;
        // By name the one that was ordered, by address and to who names nothing the head's own.
        ensure!(client.shown(NAME).await? != client.shown("172.16.0.254").await?, "one for each");
        let stop = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = [true, true, false, false]
            .map(|keeps| tokio::spawn(client.clone().ask(keeps, Arc::clone(&stop))))
            .into();
        let by_clock = program::is_whole();
        let mut seen = BTreeSet::from([serial.clone()]);
        let mut shown = BTreeSet::from([client.shown(NAME).await?]);
        for _ in 0..ROTATIONS {
            if !by_clock {
                let renewed = desk.head.pilotctl(&["cert", "renew"], "");
                let said = || format!("renewal {}: {}\n{}", seen.len(), told(&desk), desk.head.tails(25));
                renewed.with_context(said)?;
            }
            serial = next_serial(&desk, &serial).await?;
            seen.insert(serial.clone());
            // A client that has not been here: who resumes a session is shown nothing anew.
            shown.insert(Client::new(address, &root)?.shown(NAME).await?);
            ensure!(load.iter().all(|it| !it.is_finished()), "the load broke off at rotation {}", seen.len());
        }
        stop.store(true, Ordering::Relaxed);
        let mut count = 0;
        for load in load {
            count += load.await?.context("a request failed")?;
        }
        // One may be replaced again before it is looked at.
        ensure!(shown.len() > ROTATIONS / 2, "{} certificates, {} shown", seen.len(), shown.len());
        println!("{} rotations, {count} requests, none failed", seen.len() - 1);
        ensure!(count > 1000, "{count} requests are no load");
        Ok(())
    });
}
