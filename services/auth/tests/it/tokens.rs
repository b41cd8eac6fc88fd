//! Tokens for people on the head, and who is refused one.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::{Role, Scope, Service};
use sqlx::PgPool;
use web::{Peer, TokenError};

use crate::head::{Running, root, through_gateway};

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
    auth.verifier.set_keys(&jsonwebtoken::jwk::JwkSet { keys: Vec::new() }).unwrap();
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
