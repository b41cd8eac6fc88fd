//! Stock OpenID Connect clients at a real head: the crate openidconnect, Python's Authlib, and pilotctl from elsewhere.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use nix::mount::{MsFlags, mount};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims};
use openidconnect::{
    AuthorizationCode, ClientId, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    RedirectUrl, Scope, TokenResponse,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tests::{HeadOptions, lab};

use crate::desk::{Desk, TLS};

const HOST: &str = "demo.openchami.cluster";
const GATEWAY: &str = "172.16.0.254:8443";
const PASSWORD: &str = "correct horse battery";
/// Debian's, which has Authlib.
const PYTHON: &str = "/usr/bin/python3";

/// A browser without scripts, or a client: HTTPS to the head and nowhere else.
#[derive(Clone)]
struct Browser(tokio_rustls::TlsConnector);

impl Browser {
    fn new(root: &Path) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for it in CertificateDer::pem_file_iter(root).context("read the roots")? {
            roots.add(it.context("read a root")?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config).into()))
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, std::io::Error> {
        let other = |it: &dyn std::fmt::Display| std::io::Error::other(it.to_string());
        let address: SocketAddr = GATEWAY.parse().map_err(|it| other(&it))?;
        let stream = tokio::net::TcpStream::connect(address).await?;
        let name = ServerName::try_from(HOST).map_err(|it| other(&it))?;
        let stream = TokioIo::new(self.0.connect(name, stream).await?);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(|it| other(&it))?;
        tokio::spawn(connection);
        let (mut head, body) = request.into_parts();
        head.headers.insert("host", http::HeaderValue::from_static("demo.openchami.cluster:8443"));
        head.uri = head.uri.path_and_query().map_or_else(Default::default, |it| it.clone().into());
        let request = http::Request::from_parts(head, Full::new(Bytes::from(body)));
        let (head, body) = sender.send_request(request).await.map_err(|it| other(&it))?.into_parts();
        let body = body.collect().await.map_err(|it| other(&it))?.to_bytes();
        Ok(http::Response::from_parts(head, body.to_vec()))
    }

    /// Opens a page, fills in its form and sends it, as a person does; the answer's status and where it leads.
    async fn fill(
        &self,
        url: &str,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<(u16, Option<String>, String)> {
        let page = self.send(http::Request::get(url).body(Vec::new())?).await?;
        let cookie = page.headers().get("set-cookie").context("the page sets no cookie")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let html = String::from_utf8(page.into_body())?;
        let mut pairs: Vec<(String, String)> = Vec::new();
        for input in html.split("<input type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = input.split_once("\" value=\"").context("a hidden input")?;
            let value = rest.split('"').next().unwrap_or_default().replace("&amp;", "&");
            pairs.push((name.to_owned(), value));
        }
        pairs.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let form =
            openidconnect::url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let post = http::Request::post(url.split('?').next().unwrap_or_default())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", TLS)
            .header("cookie", cookie)
            .body(form.into_bytes())?;
        let answer = self.send(post).await?;
        let place = answer.headers().get("location").and_then(|it| it.to_str().ok()).map(str::to_owned);
        Ok((answer.status().as_u16(), place, String::from_utf8_lossy(answer.body()).into_owned()))
    }
}

/// A head with people on it, whose name is known on this machine.
async fn open(folder: &Path) -> anyhow::Result<Desk> {
    let desk = Desk::open(folder, HeadOptions::default()).await?;
    let hosts = folder.join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n172.16.0.254 {HOST}\n"))?;
    mount(Some(&hosts), "/etc/hosts", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .context("name the head")?;
    for (name, role) in [("alice", "admin"), ("bob", "viewer")] {
        let ran = desk.pilotctl_with(&["user", "add", name, "--role", role], &format!("{PASSWORD}\n"))?;
        ensure!(ran.code == 0 && !format!("{ran:?}").contains(PASSWORD), "{ran:?}");
    }
    Ok(desk)
}

#[test]
fn the_crate_openidconnect_logs_people_in() {
    lab::test("oidc::the_crate_openidconnect_logs_people_in", async |folder| {
        let desk = open(&folder).await?;
        let browser = Browser::new(desk.root())?;
        desk.told(&["client", "add", "web", "--public", "--redirect-uri", "http://127.0.0.1/cb"])?;
        for algorithm in ["ES256", "RS256"] {
            let client = format!("web-{algorithm}");
            desk.told(&[
                "client",
                "add",
                &client,
                "--public",
                "--redirect-uri",
                "http://127.0.0.1/cb",
                "--algorithm",
                algorithm,
            ])?;
            log_in(&browser, &client)
                .await
                .with_context(|| format!("{algorithm}\n{}", desk.head.tails(10)))?;
        }
        desk.head.shut_down().await
    });
}

async fn log_in(browser: &Browser, client_id: &str) -> anyhow::Result<()> {
    let ask = async |request: http::Request<Vec<u8>>| browser.send(request).await;
    let http = |request| {
        let browser = browser.clone();
        async move { browser.send(request).await }
    };
    let found = CoreProviderMetadata::discover_async(IssuerUrl::new(TLS.to_owned())?, &http).await?;
    let client = CoreClient::from_provider_metadata(found, ClientId::new(client_id.to_owned()), None);
    // Any port of the loopback interface will do.
    let client = client.set_redirect_uri(RedirectUrl::new("http://127.0.0.1:4711/cb".to_owned())?);
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (url, state, nonce) = client
        .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
        .add_scopes(["profile", "inventory:read"].map(|it| Scope::new(it.to_owned())))
        .set_pkce_challenge(challenge)
        .url();
    let person = [("username", "bob"), ("password", PASSWORD)];
    let (status, place, page) = browser.fill(url.as_str(), &person).await?;
    ensure!(status == 303, "{status} {page}");
    let place = openidconnect::url::Url::parse(&place.context("the page leads nowhere")?)?;
    let pairs: HashMap<_, _> = place.query_pairs().into_owned().collect();
    ensure!(pairs.get("state") == Some(state.secret()), "{pairs:?}");
    let code = AuthorizationCode::new(pairs.get("code").context("no code")?.clone());
    let token = client.exchange_code(code)?.set_pkce_verifier(verifier).request_async(&http).await?;
    let id = token.id_token().context("no identity token")?;
    let claims = id.claims(&client.id_token_verifier(), &nonce)?;
    ensure!(claims.subject().as_str() == "bob", "{claims:?}");
    let user: CoreUserInfoClaims =
        client.user_info(token.access_token().clone(), None)?.request_async(&http).await?;
    ensure!(user.subject().as_str() == "bob", "{user:?}");
    let refresh = token.refresh_token().context("no refresh token")?;
    let next = client.exchange_refresh_token(refresh)?.request_async(&http).await?;
    let groups = http::Request::get(format!("{TLS}/hsm/v2/groups"));
    let bearer = format!("Bearer {}", next.access_token().secret());
    let answer = ask(groups.header("authorization", bearer).body(Vec::new())?).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    Ok(())
}

#[test]
fn authlib_logs_people_in_and_signs_as_a_client() {
    lab::test("oidc::authlib_logs_people_in_and_signs_as_a_client", async |folder| {
        let desk = open(&folder).await?;
        desk.told(&["client", "add", "public", "--public", "--redirect-uri", "http://127.0.0.1/callback"])?;
        let redirect = "https://grafana.site/login";
        let secret =
            desk.told(&["client", "add", "grafana", "--redirect-uri", redirect, "--algorithm", "RS256"])?;
        let (public, private) = key()?;
        let jwks = folder.join("machine.json");
        std::fs::write(&jwks, json!({"keys": [public]}).to_string())?;
        desk.told(&["client", "add", "machine", "--jwks", &jwks.display().to_string()])?;
        let told = folder.join("told.json");
        let what = json!({"head": TLS, "user": "bob", "password": PASSWORD, "secret": secret.trim(), "key": private});
        std::fs::write(&told, what.to_string())?;
        let script = folder.join("client.py");
        std::fs::write(&script, include_str!("authlib_client.py"))?;
        let output = Command::new(PYTHON)
            .arg(&script)
            .arg(&told)
            .env("REQUESTS_CA_BUNDLE", desk.root())
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME")
            .stdin(Stdio::null())
            .output()
            .context("run Python; image/prepare test installs python3-authlib")?;
        let text =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        ensure!(output.status.success(), "{text}\n{}", desk.head.tails(10));
        ensure!(text.matches("logged in").count() == 3 && text.contains("signed ES256"), "{text}");
        desk.head.shut_down().await
    });
}

/// A key for ES256 as JWKs, its public half and all of it.
fn key() -> anyhow::Result<(Value, Value)> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = pair.public_key().as_ref().to_vec();
    let secret = pair.private_key();
    let secret: aws_lc_rs::encoding::EcPrivateKeyBin<'_> =
        aws_lc_rs::encoding::AsBigEndian::as_be_bytes(&secret)?;
    let text = |it: &[u8]| URL_SAFE_NO_PAD.encode(it);
    let public =
        json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]), "kid": "m"});
    let mut private = public.clone();
    private["d"] = text(secret.as_ref()).into();
    Ok((public, private))
}

#[test]
fn pilotctl_logs_in_from_elsewhere() {
    lab::test("oidc::pilotctl_logs_in_from_elsewhere", async |folder| {
        let desk = open(&folder).await?;
        let browser = Browser::new(desk.root())?;
        let (state, nowhere) = (folder.join("state"), folder.join("no-sockets"));
        let elsewhere = |words: &[&str]| {
            let mut command = Command::new(folder.join("pilotctl"));
            command.arg("--run").arg(&nowhere).args(words).env("XDG_STATE_HOME", &state);
            command.env_remove("DISPLAY").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        };
        let run = |words: &[&str]| -> anyhow::Result<(i32, String)> {
            let output = elsewhere(words).output()?;
            let text =
                [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
            Ok((output.status.code().unwrap_or(-1), text.trim().to_owned()))
        };
        let (code, says) = run(&["token"])?;
        ensure!(code == 4 && says.contains("pilotctl login --head"), "{code} {says}");

        let root = desk.root().display().to_string();
        let mut waiting = elsewhere(&["login", "--device", "--head", TLS, "--cacert", &root]).spawn()?;
        let mut said = BufReader::new(waiting.stderr.take().context("what it says")?).lines();
        let code =
            said.find_map(|it| it.ok().filter(|it| it.starts_with("    "))).context("it shows no code")?;
        let page = format!("{TLS}/oauth2/device?user_code={}", code.trim());
        let person =
            [("user_code", code.trim()), ("username", "bob"), ("password", PASSWORD), ("decision", "allow")];
        let (status, _, page) = browser.fill(&page, &person).await?;
        ensure!(status == 200 && page.contains("Done."), "{status} {page}");
        ensure!(waiting.wait()?.success(), "{:?}", said.collect::<Vec<_>>());

        let file = state.join("pilothouse/session.json");
        ensure!(std::fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
        let (code, first) = run(&["token"])?;
        ensure!(code == 0, "{first}");
        let groups = |token: &str| desk.api(token, "GET", "/hsm/v2/groups", None);
        ensure!(groups(&first)?.status == 200);
        ensure!(run(&["token"])?.1 == first, "it is good for longer");
        let late = |file: &Path| -> anyhow::Result<()> {
            let mut session: Value = serde_json::from_slice(&std::fs::read(file)?)?;
            session["expires"] = 0.into();
            Ok(std::fs::write(file, session.to_string())?)
        };
        late(&file)?;
        let (code, second) = run(&["token"])?;
        ensure!(code == 0 && second != first && groups(&second)?.status == 200, "{code} {second}");

        // Whoever is removed is out at once, and told what to do.
        desk.told(&["user", "remove", "bob"])?;
        desk.until("bob's token ends", || Ok(groups(&second)?.status == 401)).await?;
        late(&file)?;
        let (code, says) = run(&["token"])?;
        ensure!(code == 4 && says.contains(&format!("pilotctl login --head {TLS}")), "{code} {says}");
        let (code, says) = run(&["logout"])?;
        ensure!(code == 0 && !file.exists(), "{code} {says}");
        desk.head.shut_down().await
    });
}
