//! ACME with clients that others wrote, through the gateway: lego, certbot and acme-tiny of Debian.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use tests::{HeadOptions, lab, program};

use crate::desk::{Desk, TLS};

const NODE: &str = "nid001.openchami.cluster";
const OTHER: &str = "nid002.openchami.cluster";

/// A desk where the cluster's names can be resolved, as a site's DNS does.
async fn open(folder: &Path, settings: &[&str]) -> anyhow::Result<Desk> {
    let hosts = folder.join("hosts");
    let text = format!("127.0.0.1 localhost\n172.16.0.254 demo.openchami.cluster {NODE} {OTHER}\n");
    std::fs::write(&hosts, text).context("write the hosts file")?;
    let mut mount = Command::new(program::find("mount", "mount")?);
    let done = mount.arg("--bind").arg(&hosts).arg("/etc/hosts").status().context("run mount")?;
    ensure!(done.success(), "cannot show our hosts file in the lab");
    Desk::open_set(folder, HeadOptions::default(), settings).await
}

/// Runs a client that trusts our root alone; what it said if it ended well.
fn run(desk: &Desk, name: &str, words: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program::find(name, name)?);
    let root = desk.root();
    for variable in ["LEGO_CA_CERTIFICATES", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
        command.env(variable, root);
    }
    for variable in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    let home = desk.folder.join("home");
    std::fs::create_dir_all(&home)?;
    let output =
        command.args(words).current_dir(&desk.folder).env("HOME", home).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {name}"))?;
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    if !output.status.success() {
        bail!("{name} {} ended with {}:\n{text}\n{}", words.join(" "), output.status, desk.head.tails(5));
    }
    Ok(text)
}

/// Whether a file's certificate is good for a name, by OpenSSL; its serial number.
fn check(desk: &Desk, chain: &Path, name: &str) -> anyhow::Result<String> {
    let openssl = program::find("openssl", "openssl")?;
    let mut verify = Command::new(&openssl);
    verify.args(["verify", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile"]).arg(desk.root());
    let output = verify.arg("-untrusted").arg(chain).arg(chain).output()?;
    ensure!(output.status.success(), "{}: {output:?}", chain.display());
    let output = Command::new(&openssl).args(["x509", "-noout", "-serial", "-in"]).arg(chain).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a serial number is in a revocation list.
fn is_revoked(desk: &Desk, chain: &Path, serial: &str) -> anyhow::Result<bool> {
    let openssl = program::find("openssl", "openssl")?;
    let mut show = Command::new(&openssl);
    let output = show.args(["x509", "-noout", "-ext", "crlDistributionPoints", "-in"]).arg(chain).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let url = text.lines().find_map(|it| it.trim().strip_prefix("URI:")).context("no distribution point")?;
    let file = desk.folder.join("list.crl");
    let mut curl = Command::new(program::find("curl", "curl")?);
    let curl = curl.args(["-sSf", "--noproxy", "*", url, "-o"]).arg(&file).status()?;
    ensure!(curl.success(), "no revocation list");
    let output = Command::new(&openssl)
        .args(["crl", "-inform", "der", "-noout", "-text", "-in"])
        .arg(&file)
        .output()?;
    let serial = serial.trim_start_matches("serial=");
    Ok(String::from_utf8_lossy(&output.stdout).contains(&format!("Serial Number: {serial}")))
}

fn directory() -> String {
    format!("{TLS}/acme/directory")
}

#[test]
fn lego_obtains_renews_and_revokes() {
    lab::test("acme::lego_obtains_renews_and_revokes", async |folder| {
        let desk = open(&folder, &[]).await?;
        for (name, kind) in [(NODE, "--http"), (OTHER, "--tls")] {
            let server = directory();
            let place = folder.join(kind).display().to_string();
            let fixed =
                ["--path", &place, "--server", &server, "--email", "a@example.org", "--accept-tos", kind];
            let lego = |words: &[&str]| run(&desk, "lego", &[&fixed[..], words].concat());
            lego(&["--domains", name, "run"])?;
            let chain = folder.join(kind).join(format!("certificates/{name}.crt"));
            let first = check(&desk, &chain, name)?;
            lego(&["--domains", name, "renew", "--days", "30", "--no-random-sleep"])?;
            let second = check(&desk, &chain, name)?;
            ensure!(first != second, "{name} was not renewed");
            ensure!(!is_revoked(&desk, &chain, &second)?);
            lego(&["--domains", name, "revoke", "--keep"])?;
            ensure!(is_revoked(&desk, &chain, &second)? && !is_revoked(&desk, &chain, &first)?, "{name}");
            // Nobody gets what is not the cluster's.
            let refused = lego(&["--domains", "evil.example", "run"]);
            ensure!(refused.is_err_and(|it| format!("{it:#}").contains("rejectedIdentifier")));
        }
        desk.head.shut_down().await
    });
}

#[test]
fn certbot_obtains_renews_and_revokes_where_a_key_admits() {
    lab::test("acme::certbot_obtains_renews_and_revokes_where_a_key_admits", async |folder| {
        let desk = open(&folder, &["ca.eab=true"]).await?;
        let key = desk.told_json(&["ca", "eab", "add", "--description", "rack 1"])?;
        let (kid, secret) =
            (key["kid"].as_str().context("kid")?, key["hmac_key"].as_str().context("hmac_key")?);
        let place = |it: &str| folder.join("certbot").join(it).display().to_string();
        let (config, work, logs, server) = (place("config"), place("work"), place("logs"), directory());
        let fixed = ["--config-dir", &config, "--work-dir", &work, "--logs-dir", &logs, "--non-interactive"];
        let certbot = |words: &[&str]| run(&desk, "certbot", &[words, &fixed[..]].concat());
        let obtain = [
            "certonly",
            "--standalone",
            "--agree-tos",
            "--email",
            "a@example.org",
            "--server",
            &server,
            "--domain",
            NODE,
            "--domain",
            OTHER,
        ];
        let refused = certbot(&obtain);
        ensure!(refused.is_err(), "an account without a key: {refused:?}");
        let wrong = "A".repeat(43);
        let refused = certbot(&[&obtain[..], &["--eab-kid", kid, "--eab-hmac-key", &wrong]].concat());
        ensure!(refused.is_err(), "an account with a wrong key: {refused:?}");
        certbot(&[&obtain[..], &["--eab-kid", kid, "--eab-hmac-key", secret]].concat())?;
        let chain = PathBuf::from(&config).join("live").join(NODE).join("fullchain.pem");
        let first = check(&desk, &chain, OTHER)?;
        certbot(&["renew", "--force-renewal", "--no-random-sleep-on-renew"])?;
        let second = check(&desk, &chain, NODE)?;
        ensure!(first != second, "not renewed");
        certbot(&[
            "revoke",
            "--cert-name",
            NODE,
            "--reason",
            "superseded",
            "--no-delete-after-revoke",
            "--server",
            &server,
        ])?;
        ensure!(is_revoked(&desk, &chain, &second)?);
        let keys = desk.told_json(&["ca", "eab", "list"])?;
        ensure!(keys[0]["accounts"] == 1 && !keys.to_string().contains(secret), "{keys}");
        desk.told(&["ca", "eab", "remove", kid])?;
        ensure!(desk.pilotctl(&["ca", "eab", "remove", kid])?.code == 1);
        ensure!(desk.stranger(&["ca", "eab", "add"])?.code == 4);
        desk.head.shut_down().await
    });
}

#[test]
fn acme_tiny_obtains_and_renews() {
    lab::test("acme::acme_tiny_obtains_and_renews", async |folder| {
        let desk = open(&folder, &[]).await?;
        let www = folder.join("www/.well-known/acme-challenge");
        std::fs::create_dir_all(&www)?;
        let mut server = Command::new(program::find("python3", "python3")?)
            .args(["-m", "http.server", "80", "--directory"])
            .arg(folder.join("www"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("serve challenges")?;
        desk.until("the web server answers", || Ok(std::net::TcpStream::connect("172.16.0.254:80").is_ok()))
            .await?;
        let openssl = |words: &[&str]| run(&desk, "openssl", words);
        openssl(&["genrsa", "-out", "account.key", "4096"])?;
        openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "node.key",
            "-out",
            "node.csr",
            "-subj",
            &format!("/CN={NODE}"),
            "-addext",
            &format!("subjectAltName=DNS:{NODE},DNS:{OTHER}"),
        ])?;
        let mut serials = Vec::new();
        let (www, directory) = (www.display().to_string(), directory());
        for _ in 0..2 {
            let words = [
                "--account-key",
                "account.key",
                "--csr",
                "node.csr",
                "--acme-dir",
                &www,
                "--quiet",
                "--directory-url",
                &directory,
            ];
            let chain = run(&desk, "acme-tiny", &words)?;
            let begin = chain.find("-----BEGIN CERTIFICATE-----").context("no certificate")?;
            std::fs::write(folder.join("node.crt"), &chain[begin..])?;
            serials.push(check(&desk, &folder.join("node.crt"), OTHER)?);
        }
        ensure!(serials[0] != serials[1]);
        server.kill()?;
        server.wait()?;
        desk.head.shut_down().await
    });
}

/// A site's own PKI by OpenSSL: request out, chain in, and the head's certificate is of the site.
#[test]
fn a_sites_own_pki_signs_the_intermediate() {
    lab::test("acme::a_sites_own_pki_signs_the_intermediate", async |folder| {
        let desk = open(&folder, &[]).await?;
        let before = desk.told(&["ca", "roots"])?;
        std::fs::write(folder.join("ca.csr"), desk.told(&["ca", "csr"])?)?;
        let openssl = |words: &[&str]| run(&desk, "openssl", words);
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
            "-nodes",
            "-keyout",
            "site.key",
            "-out",
            "site.crt",
            "-days",
            "900",
            "-subj",
            "/C=DE/O=Site/CN=Site Root",
        ])?;
        let sign = |extensions: &str, to: &str| -> anyhow::Result<()> {
            std::fs::write(folder.join("extensions"), extensions)?;
            openssl(&[
                "x509",
                "-req",
                "-in",
                "ca.csr",
                "-CA",
                "site.crt",
                "-CAkey",
                "site.key",
                "-CAcreateserial",
                "-days",
                "400",
                "-extfile",
                "extensions",
                "-out",
                "intermediate.crt",
            ])?;
            let chain = ["intermediate.crt", "site.crt"].map(|it| std::fs::read_to_string(folder.join(it)));
            let [first, last] = chain;
            Ok(std::fs::write(folder.join(to), first? + &last?)?)
        };
        let good = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
            subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
        sign("basicConstraints=CA:FALSE\n", "leaf.pem")?;
        let place = |it: &str| folder.join(it).display().to_string();
        let refused = desk.pilotctl(&["ca", "install", &place("leaf.pem")])?;
        ensure!(refused.code == 1 && refused.err.contains("no authority"), "{refused:?}");
        sign(good, "chain.pem")?;
        let said = desk.told(&["ca", "install", &place("chain.pem")])?;
        ensure!(said.contains("are issued under it"), "{said}");
        let site = std::fs::read_to_string(folder.join("site.crt"))?;
        let roots = desk.told(&["ca", "roots"])?;
        ensure!(roots.starts_with(&before) && roots.contains(site.trim()), "{roots}");
        let called = desk.called("get_ca_cert", &[])?;
        ensure!(called.out == roots, "{called:?}");

        // A machine's certificate holds for who knows the site's root alone, and for who knows ours alone.
        let server = directory();
        let words = [
            "--path",
            "lego",
            "--server",
            &server,
            "--email",
            "a@example.org",
            "--accept-tos",
            "--http",
            "--domains",
            NODE,
            "run",
        ];
        run(&desk, "lego", &words)?;
        let chain = folder.join("lego/certificates").join(format!("{NODE}.crt"));
        check(&desk, &chain, NODE)?;
        let text = chain.display().to_string();
        openssl(&["verify", "-purpose", "sslserver", "-CAfile", "site.crt", "-untrusted", &text, &text])?;
        desk.head.shut_down().await
    });
}
