//! Tokens for people on the head, and who is refused one.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::{Role, Scope, Service};
use sqlx::PgPool;
use web::{Peer, TokenError};

use crate::head::{LIMIT, Running, root, through_gateway};

const TOKENS: &str = "/pilothouse/v1/tokens";

fn operator() -> Peer {
    Peer { uid: Some(4711), role: Some(Role::Operator), address: None }
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn an_administrators_token_verifies_with_every_right(db: PgPool) {
    let auth = Running::start(db).await;
    let (status, answer) = auth.call(root(), "POST", TOKENS, "{}").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["expires_in"], 12 * 3600);
    let claims = auth.verifier.verify(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims.iss, "https://demo.openchami.cluster:8443");
    assert_eq!(claims.sub, "root");
    assert_eq!(claims.scopes(), Role::Admin.scopes());
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn nobody_gets_more_than_their_own_role(db: PgPool) {
    let auth = Running::start(db).await;
    let (status, answer) = auth.call(operator(), "POST", TOKENS, r#"{"role":"admin"}"#).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    let (_, answer) = auth.call(operator(), "POST", TOKENS, r#"{"role":"viewer","seconds":60}"#).await;
    let claims = auth.verifier.verify(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims.scopes(), Role::Viewer.scopes());
    assert!(!claims.scopes().contains(&Scope::PowerControl));
    for body in [r#"{"seconds":0}"#, r#"{"seconds":86401}"#, r#"{"role":"king"}"#, r#"{"roles":"viewer"}"#] {
        let (status, answer) = auth.call(root(), "POST", TOKENS, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body} {answer}");
    }
}

/// Neither a service, nor a stranger on the socket, nor anybody over the network gets one for nothing; nor
/// does one who has a token get the next, which would make it live for ever.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn strangers_get_no_token(db: PgPool) {
    let auth = Running::start(db).await;
    let service = Peer::of_uid(Service::Boot.uid());
    let stranger = Peer { uid: Some(4712), role: None, address: None };
    for path in [TOKENS, "/token"] {
        for peer in [service.clone(), stranger.clone(), through_gateway(), Peer::default()] {
            let body = if path == TOKENS { "{}" } else { "" };
            let (status, answer) = auth.call(peer, "POST", path, body).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {answer}");
        }
    }
    let (_, answer) = auth.call(root(), "POST", TOKENS, "{}").await;
    let token = answer["access_token"].as_str().unwrap();
    let request = Request::post(TOKENS).header("authorization", format!("Bearer {token}"));
    let request = request.header("x-forwarded-for", "10.0.0.9").body(Body::from("{}")).unwrap();
    assert_eq!(auth.send(through_gateway(), request).await.0, StatusCode::FORBIDDEN);
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_forged_token_is_refused(db: PgPool) {
    let auth = Running::start(db).await;
    let (_, answer) = auth.call(root(), "POST", TOKENS, r#"{"role":"viewer"}"#).await;
    let token = answer["access_token"].as_str().unwrap();
    let (rest, _) = token.rsplit_once('.').unwrap();
    let (_, other) = auth.call(root(), "POST", TOKENS, "{}").await;
    let other = other["access_token"].as_str().unwrap().rsplit_once('.').unwrap().1;
    for forged in [format!("{rest}."), format!("{rest}.{other}"), rest.to_owned(), "x".repeat(5000)] {
        assert_eq!(auth.verifier.verify(&forged).unwrap_err(), TokenError::Unauthorized);
    }
    // A good one is remembered, but no longer than the keys are.
    assert!(auth.verifier.verify(token).is_ok() && auth.verifier.verify(token).is_ok());
    auth.verifier.set(&web::Trust::default());
    assert_eq!(auth.verifier.verify(token).unwrap_err(), TokenError::Unauthorized);
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn discovery_names_what_there_is(db: PgPool) {
    let auth = Running::start(db).await;
    let (status, document) =
        auth.call(through_gateway(), "GET", "/.well-known/openid-configuration", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(document["issuer"], "https://demo.openchami.cluster:8443");
    assert_eq!(document["jwks_uri"], "https://demo.openchami.cluster:8443/.well-known/jwks.json");
    let (_, keys) = auth.call(through_gateway(), "GET", "/.well-known/jwks.json", "").await;
    let key = keys["keys"][0].as_object().unwrap();
    assert_eq!(key["alg"], "ES256");
    assert!(!key.contains_key("d"), "a private key must never be published");
}

/// What a node reads its own secure data with.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn join_alone_gets_the_tokens_of_nodes(db: PgPool) {
    let auth = Running::start(db).await;
    let (path, body) = ("/pilothouse/v1/node-tokens", r#"{"xname":"x1000c1s7b1n0","seconds":300}"#);
    for peer in [root(), operator(), through_gateway(), Peer::of_uid(Service::Boot.uid())] {
        assert_eq!(auth.call(peer, "POST", path, body).await.0, StatusCode::FORBIDDEN);
    }
    let join = Service::ALL.into_iter().find(|it| it.name() == "join").unwrap();
    let (status, answer) = auth.call(Peer::of_uid(join.uid()), "POST", path, body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let claims = auth.verifier.verify(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(claims.xname.as_ref().map(ToString::to_string).as_deref(), Some("x1000c1s7b1n0"));
    assert_eq!(claims.scopes(), [Scope::Node].into());
    let end = "/pilothouse/v1/node-tokens/x1000c1s7b1n0";
    for peer in [root(), operator(), through_gateway(), Peer::of_uid(Service::Boot.uid())] {
        assert_eq!(auth.call(peer, "DELETE", end, "").await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(auth.call(Peer::of_uid(join.uid()), "DELETE", end, "").await.0, StatusCode::NO_CONTENT);
    auth.refresh().await;
    let ended = auth.verifier.verify(answer["access_token"].as_str().unwrap());
    assert_eq!(ended.unwrap_err(), TokenError::Unauthorized);
    for body in [r#"{"xname":"x1000c1s7b1n0","seconds":0}"#, r#"{"xname":"nid001","seconds":60}"#] {
        let answer = auth.call(Peer::of_uid(join.uid()), "POST", path, body).await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{}", answer.1);
    }
}

/// Keys are rotated without a token being lost, or at once with all of them.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn keys_are_rotated(db: PgPool) {
    let auth = Running::start(db).await;
    let token = auth.call(root(), "POST", TOKENS, "{}").await.1["access_token"].as_str().unwrap().to_owned();
    let path = "/pilothouse/v1/keys/rotate";
    let (status, keys) = auth.call(root(), "POST", path, "{}").await;
    assert_eq!(status, StatusCode::OK, "{keys}");
    assert_eq!(keys.as_array().unwrap().len(), 4, "two of each algorithm: {keys}");
    let (_, same) = auth.call(root(), "POST", path, "{}").await;
    assert_eq!(same, keys, "the next ones wait already");
    assert_eq!(auth.call(operator(), "POST", path, "{}").await.0, StatusCode::UNAUTHORIZED);
    auth.refresh().await;
    assert!(auth.verifier.verify(&token).is_ok());
    let (_, new) = auth.call(root(), "POST", path, r#"{"at_once":true}"#).await;
    assert_eq!(new.as_array().unwrap().len(), 2, "{new}");
    auth.refresh().await;
    assert_eq!(auth.verifier.verify(&token).unwrap_err(), TokenError::Unauthorized);
    let (_, answer) = auth.call(root(), "POST", TOKENS, "{}").await;
    assert!(auth.verifier.verify(answer["access_token"].as_str().unwrap()).is_ok());
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_revoked_token_is_no_longer_good(db: PgPool) {
    let auth = Running::start(db).await;
    let give =
        async || auth.call(root(), "POST", TOKENS, "{}").await.1["access_token"].as_str().unwrap().to_owned();
    let (one, other) = (give().await, give().await);
    let known = auth.refresh().await;
    let claims = auth.verifier.verify(&one).unwrap();
    // Who waits for a change hears of it.
    let waiting = format!("/pilothouse/v1/verifier?after={}", known.generation);
    let one_token = format!(r#"{{"token":"{}"}}"#, claims.jti);
    let (revoked, told) = tokio::join!(
        auth.call(root(), "POST", "/pilothouse/v1/revocations", &one_token),
        tokio::time::timeout(LIMIT, auth.call(root(), "GET", &waiting, ""))
    );
    assert_eq!(revoked.0, StatusCode::NO_CONTENT);
    assert_eq!(told.unwrap().1["revoked"][0]["id"], claims.jti.as_str());
    auth.refresh().await;
    assert_eq!(auth.verifier.verify(&one).unwrap_err(), TokenError::Unauthorized);
    assert!(auth.verifier.verify(&other).is_ok());
    auth.call(root(), "POST", "/pilothouse/v1/revocations", r#"{"subject":"root"}"#).await;
    auth.refresh().await;
    assert_eq!(auth.verifier.verify(&other).unwrap_err(), TokenError::Unauthorized);
    assert!(auth.verifier.verify(&give().await).is_ok(), "what is given afterwards is good at once");
}
