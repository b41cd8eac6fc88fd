//! Secrets that were planted are found nowhere they do not belong (DESIGN: credentials and sealed rows alone).

mod bmcs;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::Service;
use serde_json::json;
use tests::{HeadOptions, lab, program};

use crate::desk::{Desk, TLS};

/// A file longer than this is no log, no state and no document of a head with one node.
const FILE_MAX: u64 = 64 << 20;

/// What was planted, and how it may look.
struct Canary {
    what: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Canary {
    fn new(what: &'static str, secret: &[u8]) -> Self {
        let hex: String = secret.iter().map(|it| format!("{it:02x}")).collect();
        // Three bytes at a time, so that it is found wherever in a longer text it was encoded.
        let inner = |skip: usize| {
            let whole = secret.get(skip..).unwrap_or_default();
            whole.get(..whole.len() / 3 * 3).unwrap_or_default().to_vec()
        };
        let mut forms = vec![secret.to_vec(), hex.clone().into_bytes(), hex.to_uppercase().into_bytes()];
        for skip in 0..3 {
            forms.push(STANDARD.encode(inner(skip)).into_bytes());
            forms.push(URL_SAFE_NO_PAD.encode(inner(skip)).into_bytes());
        }
        Self { what, forms }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.forms.iter().any(|form| memchr::memmem::find(text, form).is_some())
    }
}

#[test]
fn planted_secrets_stay_where_they_belong() {
    lab::test("canary::planted_secrets_stay_where_they_belong", async |folder| {
        let desk = Desk::open(&folder, HeadOptions::default()).await?;
        desk.import(1..=1)?;
        let bmcs = bmcs::Bmcs::start().await?;
        let mut canaries = bmcs.plant(&desk).await?;
        canaries.extend(plant(&desk)?);
        // The search finds what is there.
        let known = format!("a password {}", BMC_PASSWORD);
        ensure!(canaries.iter().any(|it| it.is_in(known.as_bytes())), "the search finds nothing");
        look_at_processes(&desk, &canaries)?;
        look_at_files(&desk, &canaries)?;
        look_at_tables(&desk, &canaries)?;
        look_at_answers(&desk, &canaries)?;
        look_at_bundle(&desk, &canaries)?;
        desk.head.shut_down().await
    });
}

#[test]
fn no_unit_names_a_secret_or_dumps_its_memory() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../units");
    let mut shared = false;
    for file in files(&units) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(!text.contains("PRIVATE KEY"), "{}", file.display());
        for line in text.lines().filter(|it| it.starts_with("Environment=") || it.starts_with("Exec")) {
            let line = line.to_ascii_lowercase();
            for word in ["password", "secret=", "token="] {
                assert!(!line.contains(word), "{}: {line}", file.display());
            }
        }
        assert!(!text.lines().any(|it| it.starts_with("SetCredential=")), "{}", file.display());
        shared |= file.ends_with("pilothouse-.service.d/10-common.conf") && text.contains("\nLimitCORE=0\n");
        let limits = text.lines().filter(|it| it.starts_with("LimitCORE="));
        assert!(limits.into_iter().all(|it| it == "LimitCORE=0"), "{} dumps its memory", file.display());
    }
    assert!(shared, "units/…/pilothouse-.service.d says LimitCORE=0 for all units of ours");
}

const BMC_PASSWORD: &str = "kanarie-bmc-5e1f7c";
const ENDPOINT_PASSWORD: &str = "kanarie-endpoint-9d20b4";
const USER_PASSWORD: &str = "kanarie-user-71c3aa-long-enough";
const WRONG_SECRET: &str = "kanarie-wrong-08ee52";

/// Uses secrets of every kind as their owners do, rightly and wrongly.
fn plant(desk: &Desk) -> anyhow::Result<Vec<Canary>> {
    let set = desk.pilotctl_with(&["bmc", "set", "--user", "admin"], &format!("{BMC_PASSWORD}\n"))?;
    ensure!(set.code == 0, "bmc set ended with {set:?}");
    let token = desk.token("admin")?;
    let endpoint = json!({"ID": "x3000c0s9b0", "FQDN": "x3000c0s9b0.site", "User": "root", "Password": ENDPOINT_PASSWORD});
    let body = endpoint.to_string();
    let made = desk.api(&token, "POST", "/hsm/v2/Inventory/RedfishEndpoints", Some(&body))?;
    ensure!(made.status == 201, "{made:?}");
    // What is refused is logged most.
    let again = desk.api(&token, "POST", "/hsm/v2/Inventory/RedfishEndpoints", Some(&body))?;
    ensure!(again.status == 409, "{again:?}");
    let torn = body.replace('}', "");
    let torn = desk.api(&token, "POST", "/hsm/v2/Inventory/RedfishEndpoints", Some(&torn))?;
    ensure!(torn.status >= 400, "{torn:?}");
    let client = json!({"id": "canary", "role": "viewer"}).to_string();
    let client = desk.api(&token, "POST", "/services/auth/pilothouse/v1/clients", Some(&client))?.json()?;
    let secret = client["secret"].as_str().context("the client's secret")?.to_owned();
    for (secret, status) in [(secret.as_str(), 200), (WRONG_SECRET, 401)] {
        let form = format!("grant_type=client_credentials&client_id=canary&client_secret={secret}");
        let asked = desk.curl(&["--data", &form, &format!("{TLS}/oauth2/token")])?;
        ensure!(asked.status == status, "{asked:?}");
    }
    let user = json!({"name": "nightingale", "role": "viewer", "password": USER_PASSWORD}).to_string();
    let user = desk.api(&token, "POST", "/services/auth/pilothouse/v1/users", Some(&user))?;
    ensure!(user.status == 201, "{user:?}");
    // A token that is good, and one that is not, each where it is checked.
    let signature = token.rsplit('.').next().context("the token's signature")?.to_owned();
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    ensure!(desk.api(&forged, "GET", "/hsm/v2/groups", None)?.status == 401, "a forged token passed");
    let mut canaries = vec![
        Canary::new("the BMCs' default password", BMC_PASSWORD.as_bytes()),
        Canary::new("a Redfish endpoint's password", ENDPOINT_PASSWORD.as_bytes()),
        Canary::new("a client's secret", secret.as_bytes()),
        Canary::new("a secret that was wrong", WRONG_SECRET.as_bytes()),
        Canary::new("a user's password", USER_PASSWORD.as_bytes()),
        Canary::new("a token", signature.as_bytes()),
    ];
    for service in Service::ALL {
        let key = desk.head.folder().join(format!("credentials/{service}/{service}.seal-key"));
        if let Ok(key) = std::fs::read(&key) {
            ensure!(key.len() == 32, "{} is no sealing key", service);
            canaries.push(Canary::new("a sealing key", &key));
        }
    }
    ensure!(canaries.len() >= 11, "the sealing keys of five services were not found");
    Ok(canaries)
}

fn look_at_processes(desk: &Desk, canaries: &[Canary]) -> anyhow::Result<()> {
    for service in Service::ALL {
        let pid = desk.head.pid(service).with_context(|| format!("{service} does not run"))?;
        for what in ["cmdline", "environ"] {
            let path = PathBuf::from(format!("/proc/{pid}/{what}"));
            let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            find_none(canaries, &text, || format!("{what} of {service}"))?;
        }
    }
    Ok(())
}

/// Logs, state and run folders, the document; the credentials' own folder alone is left out.
fn look_at_files(desk: &Desk, canaries: &[Canary]) -> anyhow::Result<()> {
    let mut looked = 0;
    for folder in ["log", "run", "state", "pilothouse.toml"] {
        for file in files(&desk.head.folder().join(folder)) {
            let meta = std::fs::symlink_metadata(&file)?;
            if !meta.is_file() {
                continue;
            }
            ensure!(meta.len() < FILE_MAX, "{} has {} bytes", file.display(), meta.len());
            let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            find_none(canaries, &text, || file.display().to_string())?;
            looked += 1;
        }
    }
    ensure!(looked > Service::ALL.len(), "there were but {looked} files");
    Ok(())
}

/// Every table as a backup has it.
fn look_at_tables(desk: &Desk, canaries: &[Canary]) -> anyhow::Result<()> {
    for service in Service::ALL.into_iter().filter(|it| it.has_database()) {
        let url = desk.head.database_url().replace("///postgres", &format!("///{}", service.key()));
        let mut dump = std::process::Command::new(program::find("pg_dump", "postgresql-client")?);
        let dump = program::converse(dump.args(["--data-only", "--inserts", "--dbname"]).arg(url), "")?;
        ensure!(dump.contains("PostgreSQL database dump"), "{dump}");
        find_none(canaries, dump.as_bytes(), || format!("the tables of {service}"))?;
    }
    Ok(())
}

fn look_at_answers(desk: &Desk, canaries: &[Canary]) -> anyhow::Result<()> {
    let token = desk.token("admin")?;
    let mut paths: Vec<String> = [
        "/hsm/v2/Inventory/RedfishEndpoints",
        "/hsm/v2/Inventory/RedfishEndpoints/x3000c0s9b0",
        "/services/inventory/pilothouse/v1/bmcs",
        "/services/inventory/pilothouse/v1/bmc-credentials",
        "/services/auth/pilothouse/v1/clients",
        "/services/auth/pilothouse/v1/users",
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json",
        "/services/ca/root.pem",
        "/services/inventory/pilothouse/v1/bmcs/x3000c0s1b0",
        "/services/power/pilothouse/v1/bmcs/x3000c0s1b0",
        "/services/power/pilothouse/v1/bmcs/x3000c0s4b0",
        "/power-status?xname=x3000c0s1b0n0&xname=x3000c0s3b0n0",
        "/transitions",
        "/power-cap",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(Service::ALL.map(|it| format!("/services/{it}/metrics")));
    for path in paths {
        let answer = desk.api(&token, "GET", &path, None)?;
        ensure!(answer.status == 200, "{path}: {answer:?}");
        find_none(canaries, answer.body.as_bytes(), || path.clone())?;
        ensure!(!answer.body.contains("PRIVATE KEY") && !answer.body.contains("\"d\":"), "{path} has a key");
    }
    // Not even an administrator reads an account over the network.
    let path = "/services/inventory/pilothouse/v1/bmcs/x3000c0s9b0/credential";
    let answer = desk.api(&token, "GET", path, None)?;
    ensure!(answer.status == 403, "{answer:?}");
    find_none(canaries, answer.body.as_bytes(), || path.to_owned())
}

/// What is sent to whoever helps from afar.
fn look_at_bundle(desk: &Desk, canaries: &[Canary]) -> anyhow::Result<()> {
    // A careless document: what others wrote there is masked.
    let document = desk.folder.join("careless.toml");
    let careless = std::fs::read_to_string(desk.head.document())?;
    std::fs::write(&document, format!("{careless}\n# bmc password = {BMC_PASSWORD}\n"))?;
    let bundle = desk.folder.join("bundle.tar.zst");
    let (to, document) = (bundle.to_str().context("text")?, document.to_str().context("text")?);
    desk.told(&["--config", document, "support-bundle", "--since", "1h", "--to", to])?;
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&bundle)?);
    ensure!(mode & 0o777 == 0o600, "the bundle is open to others: {mode:o}");
    let again = desk.pilotctl(&["support-bundle", "--to", to])?;
    ensure!(again.code == 1 && again.err.contains("bundle.tar.zst"), "{again:?}");
    let unpacked = desk.folder.join("bundle");
    std::fs::create_dir(&unpacked)?;
    let mut tar = std::process::Command::new(program::find("tar", "tar")?);
    program::converse(tar.args(["--zstd", "-xf"]).arg(&bundle).arg("-C").arg(&unpacked), "")?;
    let parts = files(&unpacked);
    let names: Vec<_> = parts.iter().filter_map(|it| it.file_name()?.to_str()).collect();
    for name in ["version", "pilothouse.toml", "leases.json", "images.json", "ready-dhcp.json", "audit.json"]
    {
        ensure!(names.contains(&name), "{name} is not in {names:?}");
    }
    for part in &parts {
        let text = std::fs::read(part)?;
        find_none(canaries, &text, || part.display().to_string())?;
    }
    let kept = parts.iter().find(|it| it.ends_with("pilothouse.toml")).context("the document")?;
    let kept = std::fs::read_to_string(kept)?;
    ensure!(kept.contains("[cluster]") && kept.contains("password = [masked]"), "{kept}");
    Ok(())
}

fn find_none(canaries: &[Canary], text: &[u8], place: impl Fn() -> String) -> anyhow::Result<()> {
    for canary in canaries {
        ensure!(!canary.is_in(text), "{} is in {}", canary.what, place());
    }
    Ok(())
}

fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    entries.flatten().flat_map(|it| files(&it.path())).collect()
}
