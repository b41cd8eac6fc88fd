//! What is malformed, forged or too much is refused with the right problem, and nothing of it is kept.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::client::{Answer, BASE, Client, Key, csr, text};
use crate::head::Head;
use crate::issue::settled;

/// How many rows each table has, for who must not have changed any.
async fn rows(db: &PgPool) -> Vec<i64> {
    let mut counts = Vec::new();
    for query in [
        "select count(*) from acme_account",
        "select count(*) from acme_order",
        "select count(*) from acme_authorization",
        "select count(*) from acme_authorization where status <> 'pending'",
        "select count(*) from acme_certificate",
        "select count(*) from acme_certificate where revoked is not null",
    ] {
        counts.push(sqlx::query_scalar(query).fetch_one(db).await.unwrap());
    }
    counts
}

/// A change of a good protected header.
fn changed(good: &Value, changes: &Value) -> Value {
    let mut all = good.clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn a_forged_signature_is_refused(db: PgPool) {
    let head = Head::with("");
    let ca = settled(&head, db.clone()).await;
    let client = Client::registered(&head, &ca).await;
    let other = Client::registered(&head, &ca).await;
    let before = rows(&db).await;
    let url = format!("{BASE}/new-order");
    let payload = json!({"identifiers": [{"type": "dns", "value": "nid001.openchami.cluster"}]}).to_string();
    let used = client.nonce().await;
    client.get("/acme/new-nonce").await;
    let jwk = client.key.jwk();
    let mut private = jwk.clone();
    private["d"] = text([1; 32]).into();
    for (changes, problem) in [
        (json!({"alg": "none"}), "badSignatureAlgorithm"),
        (json!({"alg": "HS256"}), "badSignatureAlgorithm"),
        (json!({"alg": "RS256"}), "badSignatureAlgorithm"),
        (json!({"alg": "es256"}), "badSignatureAlgorithm"),
        (json!({"alg": null}), "malformed"),
        (json!({"alg": 1}), "malformed"),
        (json!({"nonce": null}), "badNonce"),
        (json!({"nonce": ""}), "badNonce"),
        (json!({"nonce": "AAAA"}), "badNonce"),
        (json!({"nonce": text([7; 40])}), "badNonce"),
        (json!({"url": null}), "malformed"),
        (json!({"url": ""}), "unauthorized"),
        (json!({"url": format!("{url}/")}), "unauthorized"),
        (json!({"url": "https://evil.example/acme/new-order"}), "unauthorized"),
        (json!({"url": url.replace("https", "http")}), "unauthorized"),
        (json!({"jwk": jwk}), "malformed"),
        (json!({"kid": null, "jwk": jwk}), "malformed"),
        (json!({"kid": null, "jwk": private}), "badPublicKey"),
        (json!({"kid": null, "jwk": {"kty": "oct", "k": "AAAA"}}), "badPublicKey"),
        (json!({"kid": null, "jwk": {}}), "badPublicKey"),
        (json!({"kid": null}), "malformed"),
        (json!({"kid": ""}), "accountDoesNotExist"),
        (json!({"kid": "1"}), "accountDoesNotExist"),
        (json!({"kid": format!("{BASE}/account/x' or 'a'='a")}), "accountDoesNotExist"),
        (json!({"kid": format!("{}/orders", client.kid)}), "accountDoesNotExist"),
        (json!({"kid": other.kid}), "malformed"),
        (json!({"crit": ["x"]}), "malformed"),
        (json!({"b64": false}), "malformed"),
    ] {
        let good = json!({"alg": "ES256", "nonce": client.nonce().await, "url": url, "kid": client.kid});
        let body = client.key.sign(&changed(&good, &changes), &payload);
        let answer = client.send(&url, &body).await;
        assert_eq!(answer.problem(), problem, "{changes}: {}", answer.json());
        check_problem(&answer);
    }
    let good = json!({"alg": "ES256", "nonce": used, "url": url, "kid": client.kid});
    for body in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"protected": text("{}"), "payload": "", "signature": ""}),
        changed(&client.key.sign(&good, &payload), &json!({"header": {"alg": "ES256"}})),
        changed(&client.key.sign(&good, &payload), &json!({"signatures": []})),
        changed(&client.key.sign(&good, &payload), &json!({"signature": null})),
        changed(&client.key.sign(&good, &payload), &json!({"payload": "e30="})),
        changed(&client.key.sign(&good, &payload), &json!({"protected": "***"})),
    ] {
        let answer = client.send(&url, &body).await;
        assert_eq!(answer.problem(), "malformed", "{body}: {}", answer.json());
        check_problem(&answer);
    }
    // None of these took the nonce; a body that only its signature spoils does.
    let forged = changed(&client.key.sign(&good, &payload), &json!({"payload": text("{}")}));
    assert_eq!(client.send(&url, &forged).await.problem(), "malformed");
    assert_eq!(client.send(&url, &client.key.sign(&good, &payload)).await.problem(), "badNonce");
    assert_eq!(rows(&db).await, before);
}

/// A refusal has a nonce for the next try, and says where the directory is.
fn check_problem(answer: &Answer) {
    assert!(answer.status.is_client_error(), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(answer.header("replay-nonce").len() > 20 && answer.header("link").contains("rel=\"index\""));
    assert_eq!(answer.json()["status"], answer.status.as_u16());
    if answer.problem() == "badSignatureAlgorithm" {
        assert_eq!(answer.json()["algorithms"][0], "ES256");
    }
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn a_bad_payload_is_refused(db: PgPool) {
    let head = Head::with("[ca.limits]\norders_per_hour = 40\nnames_per_order = 3\n");
    let ca = settled(&head, db.clone()).await;
    let client = Client::registered(&head, &ca).await;
    let order =
        client.order(json!({"identifiers": [{"type": "dns", "value": "nid001.openchami.cluster"}]})).await;
    let finalize = order.json()["finalize"].as_str().unwrap().to_owned();
    let authorization = order.json()["authorizations"][0].as_str().unwrap().to_owned();
    let before = rows(&db).await;
    let place = |path: &str| format!("{BASE}/{path}");
    let dns = |name: &str| json!({"identifiers": [{"type": "dns", "value": name}]});
    let address = |name: &str| json!({"identifiers": [{"type": "ip", "value": name}]});
    let many: Vec<_> =
        (0..4).map(|it| json!({"type": "dns", "value": format!("n{it}.openchami.cluster")})).collect();
    let good = "nid001.openchami.cluster";
    for (path, payload, problem) in [
        ("new-order", json!({}), "malformed"),
        ("new-order", json!({"identifiers": []}), "malformed"),
        ("new-order", json!({"identifiers": many}), "malformed"),
        ("new-order", json!({"identifiers": [{"type": "dns"}]}), "malformed"),
        ("new-order", json!({"identifiers": [{"type": "email", "value": "a@b"}]}), "unsupportedIdentifier"),
        ("new-order", dns("*.openchami.cluster"), "rejectedIdentifier"),
        ("new-order", dns("evil.example"), "rejectedIdentifier"),
        ("new-order", dns("evilopenchami.cluster"), "rejectedIdentifier"),
        ("new-order", dns("10.0.0.1"), "malformed"),
        ("new-order", dns("nid 1.openchami.cluster"), "malformed"),
        ("new-order", dns(""), "malformed"),
        ("new-order", address("8.8.8.8"), "rejectedIdentifier"),
        ("new-order", address("172.16.0.255"), "rejectedIdentifier"),
        ("new-order", address("172.16.000.1"), "malformed"),
        ("new-order", address(good), "malformed"),
        ("new-order", changed(&dns(good), &json!({"notAfter": "2030-01-01T00:00:00Z"})), "malformed"),
        ("new-order", changed(&dns(good), &json!({"profile": "no"})), "invalidProfile"),
        ("new-order", changed(&dns(good), &json!({"replaces": "x"})), "malformed"),
        ("new-order", changed(&dns(good), &json!({"replaces": "AAAA.AAAA"})), "malformed"),
        ("revoke-cert", json!({}), "malformed"),
        ("revoke-cert", json!({"certificate": "AAAA"}), "malformed"),
        ("revoke-cert", json!({"certificate": "AAAA", "reason": 7}), "badRevocationReason"),
        ("revoke-cert", json!({"certificate": "AAAA", "reason": -1}), "badRevocationReason"),
        ("key-change", json!({}), "malformed"),
        ("new-account", json!({}), "malformed"),
        ("order/AAAA", Value::Null, "malformed"),
        ("order/AAAA/finalize", json!({"csr": ""}), "malformed"),
        ("authorization/AAAA", Value::Null, "malformed"),
        ("certificate/AAAA", Value::Null, "malformed"),
        ("challenge/AAAA/http-01", json!({}), "malformed"),
    ] {
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        let answer = client.post(&place(path), &payload).await;
        assert_eq!(answer.problem(), problem, "{path} {payload}: {}", answer.json());
        check_problem(&answer);
    }
    for (url, payload, problem) in [
        (finalize.clone(), csr(&[good]).1.to_string(), "orderNotReady"),
        (authorization.clone(), json!({"status": "valid"}).to_string(), "malformed"),
        (authorization.replace("authorization", "challenge") + "/dns-01", "{}".to_owned(), "malformed"),
        (authorization.replace("authorization", "challenge") + "/http-01", "[]".to_owned(), "malformed"),
        (client.kid.clone(), json!({"contact": ["tel:1"]}).to_string(), "unsupportedContact"),
        (client.kid.clone(), json!({"contact": ["mailto:a@b,c@d"]}).to_string(), "invalidContact"),
        (client.kid.clone(), json!({"status": "valid "}).to_string(), "malformed"),
        (format!("{}/orders", client.kid), "{}".to_owned(), "malformed"),
    ] {
        let answer = client.post(&url, &payload).await;
        assert_eq!(answer.problem(), problem, "{url} {payload}: {}", answer.json());
        check_problem(&answer);
    }
    assert_eq!(rows(&db).await, before);

    // Another's things are nobody else's.
    let stranger = Client::registered(&head, &ca).await;
    let orders = format!("{}/orders", client.kid);
    for url in [order.header("location"), &authorization, &client.kid, &orders] {
        assert_eq!(stranger.read(url).await.problem(), "unauthorized", "{url}");
    }
    assert_eq!(stranger.post(&finalize, &csr(&[good]).1.to_string()).await.problem(), "unauthorized");
    for _ in 0..39 {
        assert_eq!(client.order(dns(good)).await.status, StatusCode::CREATED);
    }
    let limited = client.order(dns(good)).await;
    assert_eq!((limited.status, limited.problem().as_str()), (StatusCode::TOO_MANY_REQUESTS, "rateLimited"));
    assert!(limited.headers.contains_key("retry-after"));
}

/// A request that names another machine, another key, or asks to be an authority.
#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn a_request_has_to_fit_the_order(db: PgPool) {
    let head = Head::with("");
    let ca = settled(&head, db.clone()).await;
    let client = Client::registered(&head, &ca).await;
    let order =
        client.order(json!({"identifiers": [{"type": "dns", "value": "nid001.openchami.cluster"}]})).await;
    sqlx::query("update acme_authorization set status = 'valid'").execute(&db).await.unwrap();
    let finalize = order.json()["finalize"].as_str().unwrap().to_owned();
    let good = "nid001.openchami.cluster";
    let mut authority = rcgen::CertificateParams::new(vec![good.to_owned()]).unwrap();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap();
    for payload in [
        csr(&["nid002.openchami.cluster"]).1,
        csr(&[good, "nid002.openchami.cluster"]).1,
        csr(&[good, "evil.example"]).1,
        csr(&[]).1,
        json!({"csr": text(authority.der())}),
        json!({"csr": ""}),
        json!({"csr": "***"}),
        json!({"csr": text("rubbish")}),
    ] {
        let answer = client.post(&finalize, &payload.to_string()).await;
        assert_eq!(answer.problem(), "badCSR", "{}", answer.json());
    }
    let count = |db: PgPool| async move {
        let count: i64 =
            sqlx::query_scalar("select count(*) from acme_certificate").fetch_one(&db).await.unwrap();
        count
    };
    assert_eq!(count(db.clone()).await, 0);
    // Spelled otherwise it is the same name; and an order has one certificate.
    let done = client.post(&finalize, &csr(&["NID001.openchami.cluster"]).1.to_string()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.json());
    assert_eq!(client.post(&finalize, &csr(&[good]).1.to_string()).await.problem(), "orderNotReady");
    assert_eq!(count(db).await, 1);
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn what_is_no_acme_at_all_is_told_so(db: PgPool) {
    let head = Head::with("[ca.limits]\naccounts_per_hour = 3\n");
    let ca = settled(&head, db.clone()).await;
    let client = Client::new(&head, &ca);
    let before = rows(&db).await;
    let ask = async |method: &str, path: &str, kind: &str, body: Vec<u8>| {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        client.ask(request.body(Body::from(body)).unwrap()).await
    };
    let jose = "application/jose+json";
    for (method, path, kind, body, status) in [
        ("GET", "/acme/new-order", "", b"".to_vec(), 405),
        ("PUT", "/acme/new-order", jose, b"{}".to_vec(), 405),
        ("POST", "/acme/directory", jose, b"{}".to_vec(), 405),
        ("POST", "/acme/new-order", "application/json", b"{}".to_vec(), 415),
        ("POST", "/acme/new-order", jose, vec![b' '; 65 << 10], 413),
        ("POST", "/acme/new-order", jose, vec![0xff; 100], 400),
        ("POST", "/acme/new-order", jose, b"".to_vec(), 400),
        ("GET", "/acme/renewal-info/x", "", b"".to_vec(), 400),
        ("GET", "/acme/renewal-info/AAAA.AAAA", "", b"".to_vec(), 404),
    ] {
        let answer = ask(method, path, kind, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (status, "malformed"),
            "{method} {path}"
        );
    }
    assert_eq!(rows(&db).await, before);
    // A nonce is given to who asks, by both ways, and costs nothing.
    let nonce = client.get("/acme/new-nonce").await;
    assert_eq!((nonce.status, nonce.header("cache-control")), (StatusCode::NO_CONTENT, "no-store"));
    assert_ne!(nonce.header("replay-nonce"), client.nonce().await);
    for _ in 0..3 {
        Client::registered(&head, &ca).await;
    }
    assert_eq!(Client::new(&head, &ca).register(json!({})).await.problem(), "rateLimited");
    let none = Client::new(&head, &ca).register(json!({"onlyReturnExisting": true})).await;
    assert_eq!(none.problem(), "accountDoesNotExist");
    // The key of a small curve, of a forger.
    assert_ne!(Key::new().thumbprint(), Key::new().thumbprint());
}
