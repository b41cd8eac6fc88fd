//! A client from its account to its certificate, and back.

use std::path::Path;
use std::process::Command;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use sqlx::PgPool;
use web::Peer;

use crate::client::{Answer, BASE, Client, Key, bind, csr, text, tls_server, web_server};
use crate::head::Head;
use crate::issue::settled;

/// Where challenges are looked for in these tests: free ports.
fn table(http: u16, tls: u16, more: &str) -> String {
    format!(
        "allowed_names = [\"127.0.0.0/8\", \"example.org\"]\n{more}\n[ca.validation]\nhttp_port = {http}\n\
         tls_port = {tls}\nhead_port = {tls}\ntimeout = \"5s\"\n"
    )
}

/// An account, and an order for a machine that proves itself by http-01.
async fn obtain(
    client: &Client,
    says: &std::sync::Mutex<String>,
    payload: Value,
    key: &Value,
) -> (Answer, String) {
    let order = client.order(payload).await;
    assert_eq!(order.status, StatusCode::CREATED, "{}", order.json());
    assert_eq!(order.json()["status"], "pending");
    let (authorization, challenge) = client.challenge(&order, "http-01").await;
    *says.lock().unwrap() = client.proof(&challenge);
    let url = challenge["url"].as_str().unwrap();
    let started = client.post(url, "{}").await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.json());
    assert!(started.headers.get_all("link").iter().any(|it| it.to_str().unwrap().ends_with("rel=\"up\"")));
    let decided = client.decided(&authorization).await;
    assert_eq!(decided["status"], "valid", "{decided}");
    assert_eq!(decided["challenges"][0]["status"], "valid");
    let url = order.header("location").to_owned();
    assert_eq!(client.read(&url).await.json()["status"], "ready");
    let finalized = client.post(order.json()["finalize"].as_str().unwrap(), &key.to_string()).await;
    assert_eq!(finalized.status, StatusCode::OK, "{}", finalized.json());
    assert_eq!(
        (finalized.json()["status"].as_str(), finalized.header("location")),
        (Some("valid"), url.as_str())
    );
    let chain = client.read(finalized.json()["certificate"].as_str().unwrap()).await;
    assert_eq!(chain.header("content-type"), "application/pem-certificate-chain");
    (finalized, String::from_utf8(chain.body).unwrap())
}

fn one(name: &str) -> Value {
    json!({"identifiers": [{"type": "ip", "value": name}]})
}

fn der(chain: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap().to_vec()
}

fn openssl(folder: &Path, words: &[&str]) -> (bool, String) {
    let output = Command::new("/usr/bin/openssl").args(words).current_dir(folder).output().unwrap();
    let out = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
    (output.status.success(), out)
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn a_machine_obtains_renews_and_revokes(db: PgPool) {
    let (at, says) = web_server("127.0.0.9:0").await;
    let head = Head::with(&table(at.port(), 1, "[ca.profiles.short]\nlife = \"10m\"\n"));
    let ca = settled(&head, db.clone()).await;
    let client = Client::registered(&head, &ca).await;
    let directory = client.get("/acme/directory").await.json();
    assert_eq!(directory["meta"]["profiles"]["short"], "certificates of 10m");
    assert_eq!(directory["newOrder"], format!("{BASE}/new-order"));

    let (_, request) = csr(&["127.0.0.9"]);
    let (_, chain) = obtain(&client, &says, one("127.0.0.9"), &request).await;
    let folder = head.folder.path();
    std::fs::write(folder.join("chain.pem"), &chain).unwrap();
    let verify = [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-verify_ip",
        "127.0.0.9",
        "-CAfile",
        "ca/root.pem",
        "-untrusted",
        "chain.pem",
    ];
    let (good, said) = openssl(folder, &[&verify[..], &["chain.pem"]].concat());
    assert!(good, "{said}");

    // Renewal information (RFC 9773): the window, and an order that replaces.
    let (_, said) =
        openssl(folder, &["x509", "-in", "chain.pem", "-noout", "-ext", "authorityKeyIdentifier", "-serial"]);
    let octets = |text: &str| hex::decode(text.replace(':', "").trim()).unwrap();
    let key_id = said.lines().find(|it| it.starts_with("    ")).unwrap();
    let serial = said.lines().find_map(|it| it.strip_prefix("serial=")).unwrap();
    let id = format!("{}.{}", text(octets(key_id.trim().trim_start_matches("keyid:"))), text(octets(serial)));
    let window = client.get(&format!("/acme/renewal-info/{id}")).await;
    assert_eq!(window.status, StatusCode::OK, "{}", window.json());
    let start = window.json()["suggestedWindow"]["start"].as_str().unwrap().to_owned();
    assert!(window.headers.contains_key("retry-after"));
    let renew =
        json!({"identifiers": [{"type": "ip", "value": "127.0.0.9"}], "replaces": id, "profile": "short"});
    let (order, younger) = obtain(&client, &says, renew.clone(), &csr(&["127.0.0.9"]).1).await;
    assert_eq!(order.json()["profile"], "short");
    assert_eq!(client.order(renew).await.problem(), "alreadyReplaced");
    assert_ne!(chain, younger);

    // Revoked by the account, and once.
    let revoke = json!({"certificate": text(der(&chain)), "reason": 4}).to_string();
    let url = format!("{BASE}/revoke-cert");
    let stranger = Client::registered(&head, &ca).await;
    assert_eq!(stranger.post(&url, &revoke).await.problem(), "unauthorized");
    assert_eq!(client.post(&url, &revoke).await.status, StatusCode::OK);
    assert_eq!(client.post(&url, &revoke).await.problem(), "alreadyRevoked");
    let window = client.get(&format!("/acme/renewal-info/{id}")).await.json();
    assert!(window["suggestedWindow"]["start"].as_str().unwrap() < start.as_str());
    // The list says so, at the place that the certificate names.
    let (_, said) = openssl(folder, &["x509", "-in", "chain.pem", "-noout", "-ext", "crlDistributionPoints"]);
    let list = said.split("http://172.16.0.254:8081").nth(1).unwrap().lines().next().unwrap();
    let list = client.get(list).await;
    assert_eq!((list.status, list.header("content-type")), (StatusCode::OK, "application/pkix-crl"));
    std::fs::write(folder.join("list.crl"), &list.body).unwrap();
    let (good, said) =
        openssl(folder, &["crl", "-inform", "der", "-in", "list.crl", "-out", "list.pem", "-text"]);
    assert!(good && said.is_empty(), "{said}");
    let (good, said) =
        openssl(folder, &[&verify[..], &["-crl_check", "-CRLfile", "list.pem", "chain.pem"]].concat());
    assert!(!good && said.contains("revoked"), "{said}");
    std::fs::write(folder.join("younger.pem"), &younger).unwrap();
    let (good, said) =
        openssl(folder, &[&verify[..], &["-crl_check", "-CRLfile", "list.pem", "younger.pem"]].concat());
    assert!(good, "{said}");
    assert_eq!(client.get("/crl/00000000000000000000000000000000.crl").await.status, StatusCode::NOT_FOUND);
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn tls_alpn_proves_the_head_and_others(db: PgPool) {
    let (at, shown) = tls_server("127.0.0.1:0").await;
    let head = Head::with(&table(1, at.port(), ""));
    let ca = settled(&head, db).await;
    let client = Client::registered(&head, &ca).await;
    for (kind, name) in [("dns", "localhost"), ("dns", "demo.openchami.cluster"), ("ip", "127.0.0.1")] {
        let order = client.order(json!({"identifiers": [{"type": kind, "value": name}]})).await;
        let (authorization, challenge) = client.challenge(&order, "tls-alpn-01").await;
        let offered = client.read(&authorization).await.json();
        assert_eq!(offered["challenges"].as_array().unwrap().len(), 1, "the head's own: {offered}");
        shown.set(name, &client.proof(&challenge));
        client.post(challenge["url"].as_str().unwrap(), "{}").await;
        let decided = client.decided(&authorization).await;
        assert_eq!(decided["status"], "valid", "{decided}");
        let (_, request) = csr(&[name]);
        let done = client.post(order.json()["finalize"].as_str().unwrap(), &request.to_string()).await;
        assert_eq!(done.json()["status"], "valid", "{}", done.json());
    }
    // Another's proof is none.
    let order = client.order(one("127.0.0.1")).await;
    let (authorization, challenge) = client.challenge(&order, "tls-alpn-01").await;
    shown.set("127.0.0.1", &Client::new(&head, &ca).proof(&challenge));
    client.post(challenge["url"].as_str().unwrap(), "{}").await;
    let decided = client.decided(&authorization).await;
    assert_eq!(decided["status"], "invalid");
    let error = &decided["challenges"][0]["error"];
    assert!(error["type"].as_str().unwrap().ends_with(":incorrectResponse"), "{error}");
    let order = client.read(order.header("location")).await.json();
    assert_eq!((&order["status"], &order["error"]["type"]), (&"invalid".into(), &error["type"]));
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn the_key_of_a_certificate_revokes_it(db: PgPool) {
    let (at, says) = web_server("127.0.0.10:0").await;
    let head = Head::with(&table(at.port(), 1, ""));
    let ca = settled(&head, db).await;
    let client = Client::registered(&head, &ca).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.10".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = json!({"csr": text(params.serialize_request(&key).unwrap().der())});
    let (_, chain) = obtain(&client, &says, one("127.0.0.10"), &request).await;
    let url = format!("{BASE}/revoke-cert");
    let payload = json!({"certificate": text(der(&chain))}).to_string();
    for (signer, status) in
        [(Key::new(), StatusCode::FORBIDDEN), (Key::of(&key.serialize_der()), StatusCode::OK)]
    {
        let protected =
            json!({"alg": "ES256", "nonce": client.nonce().await, "url": url, "jwk": signer.jwk()});
        let done = client.send(&url, &signer.sign(&protected, &payload)).await;
        assert_eq!(done.status, status, "{}", done.json());
    }
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn an_account_changes_and_ends(db: PgPool) {
    let head = Head::with("");
    let ca = settled(&head, db).await;
    let mut client = Client::registered(&head, &ca).await;
    // The same key, the same account.
    let kid = client.kid.clone();
    let again = client.register(json!({})).await;
    assert_eq!((again.status, again.header("location")), (StatusCode::OK, kid.as_str()));
    let contact = client.post(&kid, &json!({"contact": ["mailto:a@example.org"]}).to_string()).await;
    assert_eq!(contact.json()["contact"][0], "mailto:a@example.org");
    for _ in 0..3 {
        client.order(one("172.16.0.1")).await;
    }
    let orders = client.read(&format!("{kid}/orders")).await.json();
    assert_eq!(orders["orders"].as_array().unwrap().len(), 3);

    // Another key takes over; the old one is nobody's from then on.
    let (url, new) = (format!("{BASE}/key-change"), Key::new());
    let inner = json!({"alg": "ES256", "url": url, "jwk": new.jwk()});
    let payload = json!({"account": kid, "oldKey": client.key.jwk()}).to_string();
    let change = new.sign(&inner, &payload).to_string();
    let other = Client::registered(&head, &ca).await;
    assert_eq!(other.post(&url, &change).await.problem(), "malformed");
    assert_eq!(client.post(&url, &change).await.status, StatusCode::OK);
    assert_eq!(client.read(&kid).await.problem(), "malformed");
    client.key = new;
    assert_eq!(client.read(&kid).await.status, StatusCode::OK);
    // A key that has an account already.
    let inner = json!({"alg": "ES256", "url": url, "jwk": other.key.jwk()});
    let payload = json!({"account": kid, "oldKey": client.key.jwk()}).to_string();
    let taken = client.post(&url, &other.key.sign(&inner, &payload).to_string()).await;
    assert_eq!((taken.status, taken.header("location")), (StatusCode::CONFLICT, other.kid.as_str()));

    let ended = client.post(&kid, &json!({"status": "deactivated"}).to_string()).await;
    assert_eq!(ended.json()["status"], "deactivated");
    assert_eq!(client.read(&kid).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(client.register(json!({})).await.problem(), "unauthorized");
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn where_admission_is_asked_for_a_key_admits(db: PgPool) {
    let head = Head::with("eab = true\n");
    let ca = settled(&head, db).await;
    let mut client = Client::new(&head, &ca);
    assert_eq!(client.get("/acme/directory").await.json()["meta"]["externalAccountRequired"], true);
    assert_eq!(client.register(json!({})).await.problem(), "externalAccountRequired");
    for address in ["::1", "127.0.0.1"] {
        let mut gateway = Client::new(&head, &ca);
        gateway.address = address;
        assert_eq!(gateway.register(json!({})).await.status, StatusCode::CREATED, "the head's own");
    }
    let own = |method: &str, path: &str, body: Value| {
        let request = axum::http::Request::builder().method(method).uri(path);
        let request = request.body(axum::body::Body::from(body.to_string())).unwrap();
        let router = head.router(&ca).layer(axum::Extension(Peer::of_uid(0)));
        async move {
            use http_body_util::BodyExt;
            use tower::ServiceExt;
            let response = router.oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null))
        }
    };
    let (status, key) = own("POST", "/pilothouse/v1/eab", json!({"description": "rack 1"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let (kid, secret) =
        (key["kid"].as_str().unwrap(), URL_SAFE_NO_PAD.decode(key["hmac_key"].as_str().unwrap()));
    let (secret, url) = (secret.unwrap(), format!("{BASE}/new-account"));
    let jwk = client.key.jwk();
    for (binding, problem) in [
        (bind(kid, b"wrong", &jwk, &url), "unauthorized"),
        (bind("unknown", &secret, &jwk, &url), "unauthorized"),
        (bind(kid, &secret, &Key::new().jwk(), &url), "malformed"),
        (bind(kid, &secret, &jwk, "https://elsewhere/acme/new-account"), "malformed"),
        (json!({}), "malformed"),
    ] {
        let refused = client.register(json!({"externalAccountBinding": binding})).await;
        assert_eq!(refused.problem(), problem, "{}", refused.json());
    }
    let made = client.register(json!({"externalAccountBinding": bind(kid, &secret, &jwk, &url)})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let (_, list) = own("GET", "/pilothouse/v1/eab", Value::Null).await;
    assert_eq!((&list[0]["description"], &list[0]["accounts"]), (&"rack 1".into(), &1.into()));
    assert!(!list.to_string().contains(key["hmac_key"].as_str().unwrap()));
    let path = format!("/pilothouse/v1/eab/{kid}");
    assert_eq!(own("DELETE", &path, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(own("DELETE", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
    // Whom it admitted stays; nobody new comes.
    assert_eq!(client.read(&client.kid.clone()).await.status, StatusCode::OK);
    let mut late = Client::new(&head, &ca);
    let binding = bind(kid, &secret, &late.key.jwk(), &url);
    assert_eq!(late.register(json!({"externalAccountBinding": binding})).await.problem(), "unauthorized");
}

/// One head ends in the middle, another one goes on: everything is in the database.
#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn another_head_goes_on_with_an_order(db: PgPool) {
    let (at, says) = web_server("127.0.0.11:0").await;
    let head = Head::with(&table(at.port(), 1, ""));
    let first = settled(&head, db.clone()).await;
    let mut client = Client::registered(&head, &first).await;
    let order = client.order(one("127.0.0.11")).await;
    let (authorization, challenge) = client.challenge(&order, "http-01").await;
    *says.lock().unwrap() = client.proof(&challenge);
    // It had begun to look, and was gone before it found anything.
    let id = authorization.rsplit('/').next().unwrap();
    sqlx::query(
        "update acme_authorization set status = 'processing', challenge = 'http-01', tried = now() - interval '1 hour'
         where id = $1",
    )
    .bind(id)
    .execute(&db)
    .await
    .unwrap();
    let other = settled(&head, db).await;
    let (key, kid) = (client.key, client.kid);
    client = Client::new(&head, &other);
    (client.key, client.kid) = (key, kid);
    assert_eq!(client.decided(&authorization).await["status"], "valid");
    let done =
        client.post(order.json()["finalize"].as_str().unwrap(), &csr(&["127.0.0.11"]).1.to_string()).await;
    assert_eq!(done.json()["status"], "valid", "{}", done.json());
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn what_is_old_is_removed_and_what_is_given_up_stays_so(db: PgPool) {
    let (at, says) = web_server("127.0.0.12:0").await;
    let head = Head::with(&table(at.port(), 1, ""));
    let ca = settled(&head, db.clone()).await;
    let client = Client::registered(&head, &ca).await;
    obtain(&client, &says, one("127.0.0.12"), &csr(&["127.0.0.12"]).1).await;
    // Given up before it was tried: the order is over, and its challenge is not looked for.
    let order = client.order(one("127.0.0.12")).await;
    let (authorization, challenge) = client.challenge(&order, "http-01").await;
    let given_up = client.post(&authorization, &json!({"status": "deactivated"}).to_string()).await;
    assert_eq!(given_up.json()["status"], "deactivated");
    client.post(challenge["url"].as_str().unwrap(), "{}").await;
    assert_eq!(client.read(&authorization).await.json()["status"], "deactivated");
    assert_eq!(client.read(order.header("location")).await.json()["status"], "invalid");

    let count = async || {
        let mut all = Vec::new();
        for query in [
            "select count(*) from acme_account",
            "select count(*) from acme_order",
            "select count(*) from acme_authorization",
            "select count(*) from acme_certificate",
        ] {
            all.push(sqlx::query_scalar::<_, i64>(query).fetch_one(&db).await.unwrap());
        }
        all
    };
    let (database, now) = (web::Database::ready(db.clone()), time::OffsetDateTime::now_utc());
    ca.remove_old(&database, now).await.unwrap();
    assert_eq!(count().await, [1, 2, 2, 1]);
    ca.remove_old(&database, now + time::Duration::hours(25)).await.unwrap();
    assert_eq!(count().await, [1, 0, 0, 0]);
}
