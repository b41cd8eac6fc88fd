//! People: made, logged in by browser and device, renewed, throttled, removed.

use aws_lc_rs::digest;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Value, json};
use sqlx::PgPool;
use web::TokenError;

use crate::head::{PASSWORD, Running, root, through_gateway};
use crate::signer::{Signer, encode};

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "http://127.0.0.1:4711/callback";

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn ask<'a>(scope: &'a str, challenge: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("response_type", "code"),
        ("client_id", "pilotctl"),
        ("redirect_uri", REDIRECT),
        ("scope", scope),
        ("state", "s&t"),
        ("nonce", "n"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
}

fn challenge() -> String {
    encode(digest::digest(&digest::SHA256, VERIFIER.as_bytes()))
}

/// The parameters of the address that a browser is sent to.
fn sent_to(headers: &HeaderMap) -> std::collections::HashMap<String, String> {
    let place = headers[header::LOCATION].to_str().unwrap();
    let (place, query) = place.split_once('?').unwrap();
    assert_eq!(place, REDIRECT);
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

async fn code_of(auth: &Running, name: &str, scope: &str) -> String {
    let page = format!("/oauth2/authorize?{}", query(&ask(scope, &challenge())));
    let fields = [("username", name), ("password", PASSWORD)];
    let (status, headers, body) = auth.submit(&page, &fields).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{body}");
    let sent = sent_to(&headers);
    assert_eq!(
        (sent["state"].as_str(), sent["iss"].as_str()),
        ("s&t", "https://demo.openchami.cluster:8443")
    );
    sent["code"].clone()
}

fn exchange(code: &str) -> String {
    query(&[
        ("grant_type", "authorization_code"),
        ("client_id", "pilotctl"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("code", code),
    ])
}

fn renewal(token: &Value) -> String {
    let token = token["refresh_token"].as_str().unwrap();
    query(&[("grant_type", "refresh_token"), ("client_id", "pilotctl"), ("refresh_token", token)])
}

/// Logs someone in through the page, as pilotctl does.
pub(crate) async fn log_in(auth: &Running, name: &str, scope: &str) -> Value {
    let code = code_of(auth, name, scope).await;
    let (status, answer) = auth.form("/oauth2/token", None, &exchange(&code)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

async fn asked(auth: &Running, form: &str) -> (u16, String) {
    let (status, answer) = auth.form("/oauth2/token", None, form).await;
    (status.as_u16(), answer["error"].as_str().unwrap_or_default().to_owned())
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn people_are_made_shown_changed_and_removed(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "operator").await;
    let (_, list) = auth.call(root(), "GET", "/pilothouse/v1/users", "").await;
    assert_eq!((&list[0]["name"], &list[0]["role"]), (&json!("alice"), &json!("operator")));
    assert!(!list.to_string().contains("argon2"));
    for (body, status) in [
        (json!({"name": "alice", "role": "viewer", "password": PASSWORD}), 409),
        (json!({"name": "pilotctl", "role": "viewer", "password": PASSWORD}), 400),
        (json!({"name": "b o b", "role": "viewer", "password": PASSWORD}), 400),
        (json!({"name": "bob", "role": "king", "password": PASSWORD}), 400),
        (json!({"name": "bob", "role": "viewer", "password": "short"}), 400),
    ] {
        let answer = auth.call(root(), "POST", "/pilothouse/v1/users", &body.to_string()).await;
        assert_eq!(answer.0.as_u16(), status, "{body}: {}", answer.1);
    }
    let client = json!({"id": "alice", "role": "viewer"}).to_string();
    let (status, _) = auth.call(root(), "POST", "/pilothouse/v1/clients", &client).await;
    assert_eq!(status, StatusCode::CONFLICT, "names are one space");

    let token = log_in(&auth, "alice", "pilothouse").await;
    let (access, path) = (token["access_token"].as_str().unwrap(), "/pilothouse/v1/users/alice");
    assert!(auth.verifier.verify(access).is_ok());
    let (status, changed) = auth.call(root(), "PUT", path, r#"{"role":"viewer"}"#).await;
    assert_eq!((status, &changed["role"]), (StatusCode::OK, &json!("viewer")));
    auth.refresh().await;
    assert_eq!(auth.verifier.verify(access).unwrap_err(), TokenError::Unauthorized, "rights that were taken");
    assert_eq!(asked(&auth, &renewal(&token)).await, (400, "invalid_grant".to_owned()));
    let token = log_in(&auth, "alice", "pilothouse").await;
    assert!(auth.verifier.verify(token["access_token"].as_str().unwrap()).is_ok(), "in the same second");
    assert_eq!(auth.call(root(), "DELETE", path, "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(auth.call(root(), "DELETE", path, "").await.0, StatusCode::NOT_FOUND);
    auth.refresh().await;
    assert!(auth.verifier.verify(token["access_token"].as_str().unwrap()).is_err());
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_log_in_is_renewed_and_a_stolen_refresh_token_ends_it(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "operator").await;
    let first = log_in(&auth, "alice", "openid offline_access boot:read boot:write").await;
    assert_eq!(first["scope"], "openid offline_access boot:read", "what an operator has of it");
    let id = first["id_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let id = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, id).unwrap();
    let id: Value = serde_json::from_slice(&id).unwrap();
    assert_eq!(
        (&id["aud"], &id["nonce"], &id["role"]),
        (&json!("pilotctl"), &json!("n"), &json!("operator"))
    );

    let (status, second) = auth.form("/oauth2/token", None, &renewal(&first)).await;
    assert_eq!(status, StatusCode::OK, "{second}");
    auth.refresh().await;
    let access = second["access_token"].as_str().unwrap();
    assert!(auth.verifier.verify(access).is_ok());
    // Somebody else has the first one too: then nobody knows who is who.
    assert_eq!(asked(&auth, &renewal(&first)).await, (400, "invalid_grant".to_owned()));
    assert_eq!(asked(&auth, &renewal(&second)).await, (400, "invalid_grant".to_owned()));
    auth.refresh().await;
    for token in [&first, &second] {
        let token = token["access_token"].as_str().unwrap();
        assert_eq!(auth.verifier.verify(token).unwrap_err(), TokenError::Unauthorized);
    }
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_code_is_good_once_for_who_asked(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "admin").await;
    let made =
        json!({"id": "web", "role": "viewer", "public": true, "redirect_uris": [REDIRECT]}).to_string();
    assert_eq!(auth.call(root(), "POST", "/pilothouse/v1/clients", &made).await.0, StatusCode::CREATED);
    for (name, other) in [
        ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX"),
        ("redirect_uri", "http://127.0.0.1:4712/callback"),
    ] {
        let good = exchange(&code_of(&auth, "alice", "openid").await);
        let pairs: Vec<(String, String)> = form_urlencoded::parse(good.as_bytes()).into_owned().collect();
        let pairs = pairs.iter().map(|(key, value)| (&**key, if key == name { other } else { &**value }));
        assert_eq!(asked(&auth, &query(&pairs.collect::<Vec<_>>())).await.1, "invalid_grant", "{name}");
        assert_eq!(asked(&auth, &good).await.1, "invalid_grant", "a code that was tried is spent");
    }
    let good = exchange(&code_of(&auth, "alice", "openid").await);
    assert_eq!(asked(&auth, &good.replace("client_id=pilotctl", "client_id=web")).await.1, "invalid_grant");
    let (_, token) = auth.form("/oauth2/token", None, &good).await;
    assert!(auth.verifier.verify(token["access_token"].as_str().unwrap()).is_ok());
    assert_eq!(asked(&auth, &good).await.1, "invalid_grant");
    auth.refresh().await;
    assert!(
        auth.verifier.verify(token["access_token"].as_str().unwrap()).is_err(),
        "what a stolen code gave"
    );
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_wrong_request_goes_nowhere_it_should_not(db: PgPool) {
    let auth = Running::start(db).await;
    let challenge = challenge();
    let show = async |pairs: &[(&str, &str)]| {
        let page = format!("/oauth2/authorize?{}", query(pairs));
        auth.ask(through_gateway(), Request::get(page).body(Body::empty()).unwrap()).await
    };
    let with = |name: &str, value: &'static str| {
        let pairs = ask("openid", &challenge).into_iter().filter(|it| it.0 != name);
        pairs
            .chain(
                (!value.is_empty())
                    .then_some((if name == "client_id" { "client_id" } else { "redirect_uri" }, value)),
            )
            .collect::<Vec<_>>()
    };
    for pairs in [
        with("redirect_uri", ""),
        with("redirect_uri", "https://evil.example/"),
        with("redirect_uri", "http://127.0.0.1:1/other"),
        with("redirect_uri", "http://127.0.0.1.evil.example/callback"),
        with("client_id", ""),
        with("client_id", "nobody"),
    ] {
        let (status, headers, body) = show(&pairs).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{pairs:?}");
        assert!(!headers.contains_key(header::LOCATION) && body.contains("<!doctype html>"), "{pairs:?}");
    }
    for (name, value, error) in [
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "plain", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("scope", "root", "invalid_scope"),
        ("prompt", "none", "login_required"),
        ("request", "x", "request_not_supported"),
    ] {
        let mut pairs: Vec<_> = ask("openid", &challenge).into_iter().filter(|it| it.0 != name).collect();
        pairs.push((name, value));
        let (status, headers, _) = show(&pairs).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{name} {value}");
        let sent = sent_to(&headers);
        assert_eq!((sent["error"].as_str(), sent["state"].as_str()), (error, "s&t"), "{name} {value}");
    }
    let (_, headers, page) = show(&ask("openid", &challenge)).await;
    let cookie = headers[header::SET_COOKIE].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-") && cookie.contains("; Secure; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("frame-ancestors 'none'"));
    assert!(!page.contains("<script") && page.contains("value=\"s&amp;t\""), "{page}");
}

/// Another site's page can neither log anybody in nor guess at passwords through its visitors.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_form_of_another_page_is_refused(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "admin").await;
    let mut pairs = ask("openid", "");
    let challenge = challenge();
    pairs.retain(|it| it.0 != "code_challenge");
    pairs.extend([
        ("code_challenge", &*challenge),
        ("username", "alice"),
        ("password", PASSWORD),
        ("form_token", "x"),
    ]);
    for path in ["/oauth2/authorize", "/oauth2/device"] {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::from(query(&pairs))).unwrap();
        assert_eq!(auth.ask(through_gateway(), request).await.0, StatusCode::FORBIDDEN, "{path}");
    }
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn passwords_are_not_guessed(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "admin").await;
    let page = format!("/oauth2/authorize?{}", query(&ask("openid", &challenge())));
    for name in ["alice", "nobody"] {
        for _ in 0..5 {
            let (status, _, body) =
                auth.submit(&page, &[("username", name), ("password", "wrong password")]).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert!(body.contains("Name or password is not right.") && !body.contains("wrong password"));
        }
        // Also with the right one, and nobody learns who is known here.
        let (status, ..) = auth.submit(&page, &[("username", name), ("password", PASSWORD)]).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    }
    let body = json!({"username": "alice", "password": PASSWORD}).to_string();
    let request = Request::post("/api/login").header("x-forwarded-for", "10.0.0.9");
    let (status, headers, _) =
        auth.ask(through_gateway(), request.body(Body::from(body.clone())).unwrap()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(headers.contains_key(header::RETRY_AFTER));
    // From elsewhere it is alice's own try.
    let request = Request::post("/api/login").header("x-forwarded-for", "10.0.0.10");
    let (status, answer) = auth.send(through_gateway(), request.body(Body::from(body)).unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(auth.verifier.verify(answer["access_token"].as_str().unwrap()).is_ok());
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_device_gets_its_token_when_someone_says_so(db: PgPool) {
    let auth = Running::start(db.clone()).await;
    auth.new_user("alice", "viewer").await;
    let begin = async || {
        let form = "client_id=pilotctl&scope=openid+pilothouse";
        let (status, answer) = auth.form("/oauth2/device_authorization", None, form).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let code = answer["device_code"].as_str().unwrap();
        let poll = query(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "pilotctl"),
            ("device_code", code),
        ]);
        (answer["user_code"].as_str().unwrap().to_owned(), poll)
    };
    // As if the interval had passed.
    let pass = async || {
        sqlx::query("update device set polled = null").execute(&db).await.unwrap();
    };
    let (user_code, poll) = begin().await;
    assert_eq!(asked(&auth, &poll).await.1, "authorization_pending");
    assert_eq!(asked(&auth, &poll).await.1, "slow_down");
    let typed = user_code.to_lowercase().replace('-', "");
    let who = [("username", "alice"), ("password", PASSWORD), ("decision", "allow")];
    let wrong = auth.submit("/oauth2/device", &[&who[..], &[("user_code", "BBBB-BBBB")]].concat()).await;
    assert_eq!(wrong.0, StatusCode::BAD_REQUEST);
    let done = auth.submit("/oauth2/device", &[&who[..], &[("user_code", &*typed)]].concat()).await;
    assert_eq!(done.0, StatusCode::OK, "{}", done.2);
    pass().await;
    let (status, token) = auth.form("/oauth2/token", None, &poll).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert!(auth.verifier.verify(token["access_token"].as_str().unwrap()).is_ok());
    assert!(token["refresh_token"].is_string());
    assert_eq!(asked(&auth, &poll).await.1, "invalid_grant", "once");

    let (user_code, poll) = begin().await;
    let refused = [("username", ""), ("password", ""), ("decision", "refuse"), ("user_code", &*user_code)];
    assert_eq!(auth.submit("/oauth2/device", &refused).await.0, StatusCode::OK);
    assert_eq!(asked(&auth, &poll).await.1, "access_denied");
    let (_, poll) = begin().await;
    sqlx::query("update device set expires = now() - interval '1 s'").execute(&db).await.unwrap();
    assert_eq!(asked(&auth, &poll).await.1, "expired_token");
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn clients_ask_what_a_token_is_worth_and_end_it(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "operator").await;
    let secret = auth.new_client("ci", "viewer").await;
    let basic = format!("ci:{secret}");
    let token = log_in(&auth, "alice", "openid boot:read").await;
    let access = token["access_token"].as_str().unwrap();
    let about = query(&[("token", access)]);
    let (_, told) = auth.form("/oauth2/introspect", Some(&basic), &about).await;
    assert_eq!(
        (&told["active"], &told["sub"], &told["scope"]),
        (&json!(true), &json!("alice"), &json!("openid boot:read"))
    );
    assert_eq!(auth.form("/oauth2/introspect", None, &about).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(auth.form("/oauth2/introspect", Some(&basic), "token=x").await.1, json!({"active": false}));
    let user = async |token: &str| {
        let request = Request::get("/oauth2/userinfo").header("authorization", format!("Bearer {token}"));
        auth.send(through_gateway(), request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(user(access).await.1["preferred_username"], "alice");
    assert_eq!(user("x").await.0, StatusCode::UNAUTHORIZED);
    // Another client's token is not its to end.
    assert_eq!(auth.form("/oauth2/revoke", Some(&basic), &about).await.0, StatusCode::OK);
    assert_eq!(user(access).await.0, StatusCode::OK);
    let own = query(&[("token", token["refresh_token"].as_str().unwrap()), ("client_id", "pilotctl")]);
    assert_eq!(auth.form("/oauth2/revoke", None, &own).await.0, StatusCode::OK);
    assert_eq!(user(access).await.0, StatusCode::UNAUTHORIZED, "with the log-in all of it ends");
    assert_eq!(auth.form("/oauth2/introspect", Some(&basic), &about).await.1, json!({"active": false}));
    assert_eq!(asked(&auth, &renewal(&token)).await.1, "invalid_grant");
}

/// RFC 7523: the client's own signature instead of a secret, each once.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_client_signs_what_it_asks(db: PgPool) {
    let (auth, signer) = (Running::start(db).await, Signer::new());
    let made = json!({"id": "ci", "role": "viewer", "jwks": {"keys": signer.jwks()}, "algorithm": "RS256"});
    let (status, answer) = auth.call(root(), "POST", "/pilothouse/v1/clients", &made.to_string()).await;
    assert_eq!((status, &answer["proof"]), (StatusCode::CREATED, &json!("key")), "{answer}");
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let mut number = 0;
    let mut assertion = |name: &str, value: Value| {
        number += 1;
        let place = "https://demo.openchami.cluster:8443/oauth2/token";
        let mut claims =
            json!({"iss": "ci", "sub": "ci", "aud": place, "exp": now + 60, "jti": number.to_string()});
        claims[name] = value;
        signer.token(r#"{"alg":"ES256","kid":"ec"}"#, &claims.to_string())
    };
    let form = |assertion: &str| {
        query(&[
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ])
    };
    let good = form(&assertion("iat", json!(now)));
    let (status, token) = auth.form("/oauth2/token", None, &good).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    let access = token["access_token"].as_str().unwrap();
    assert_eq!(auth.verifier.verify(access).unwrap().sub, "ci");
    let head = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        access.split('.').next().unwrap(),
    );
    assert!(String::from_utf8(head.unwrap()).unwrap().contains(r#""alg":"RS256""#), "as the client has it");
    assert_eq!(asked(&auth, &good).await, (401, "invalid_client".to_owned()), "it was used");
    for (name, value) in [
        ("aud", json!("https://elsewhere")),
        ("iss", json!("other")),
        ("sub", json!("other")),
        ("exp", json!(now - 60)),
        ("exp", json!(now + 86_400)),
        ("exp", json!("soon")),
        ("jti", json!("")),
        ("nbf", json!(now + 600)),
    ] {
        assert_eq!(asked(&auth, &form(&assertion(name, value.clone()))).await.0, 401, "{name} {value}");
    }
    let stranger =
        Signer::new().token(r#"{"alg":"ES256","kid":"ec"}"#, &json!({"iss": "ci", "sub": "ci"}).to_string());
    assert_eq!(asked(&auth, &form(&stranger)).await.0, 401);
    let private =
        json!({"id": "x", "role": "viewer", "jwks": {"keys": [{"kty": "EC", "d": "AA"}]}}).to_string();
    assert_eq!(
        auth.call(root(), "POST", "/pilothouse/v1/clients", &private).await.0,
        StatusCode::BAD_REQUEST
    );
}
