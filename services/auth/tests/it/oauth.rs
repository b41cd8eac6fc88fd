//! Service clients: registered, given tokens, refused, removed.

use axum::http::StatusCode;
use domain::Role;
use sqlx::PgPool;
use web::Peer;

use crate::head::{Running, root, through_gateway};

const GRANT: &str = "grant_type=client_credentials";

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_client_gets_a_token_for_its_secret(db: PgPool) {
    let auth = Running::start(db).await;
    let secret = auth.new_client("ci", "operator").await;
    let basic = format!("ci:{secret}");
    let (status, answer) = auth.form("/oauth2/token", Some(&basic), GRANT).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["token_type"], "Bearer");
    let claims = auth.verifier.verify(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!((claims.sub.as_str(), claims.scopes()), ("ci", Role::Operator.scopes()));

    let post = format!("{GRANT}&client_id=ci&client_secret={secret}&scope=boot:read+openid");
    let (status, answer) = auth.form("/oauth2/token", None, &post).await;
    assert_eq!((status, answer["scope"].as_str()), (StatusCode::OK, Some("boot:read")), "{answer}");

    let (status, answer) = auth.form("/token", Some(&basic), "").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(auth.verifier.verify(answer["access_token"].as_str().unwrap()).is_ok());
}

/// RFC 6749 section 5.2: the words and statuses that libraries look for.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn what_is_refused_has_oauths_words(db: PgPool) {
    let auth = Running::start(db).await;
    let secret = auth.new_client("ci", "viewer").await;
    let good = format!("ci:{secret}");
    let both = format!("{GRANT}&client_secret={secret}");
    let cases = [
        (Some("ci:wrong"), GRANT, 401, "invalid_client"),
        (Some("nobody:wrong"), GRANT, 401, "invalid_client"),
        (Some("ci"), GRANT, 401, "invalid_client"),
        (Some("ci:"), GRANT, 401, "invalid_client"),
        (None, GRANT, 401, "invalid_client"),
        (None, "grant_type=client_credentials&client_id=ci&client_secret=", 401, "invalid_client"),
        (Some(&*good), "", 400, "invalid_request"),
        (Some(&*good), "grant_type=password", 400, "unsupported_grant_type"),
        (Some(&*good), "grant_type=authorization_code", 400, "invalid_request"),
        (Some(&*good), "grant_type=refresh_token&refresh_token=x", 400, "invalid_grant"),
        (None, "grant_type=client_credentials&client_id=pilotctl", 400, "unauthorized_client"),
        (Some(&*good), "grant_type=client_credentials&scope=boot:write", 400, "invalid_scope"),
        (Some(&*good), "grant_type=a&grant_type=b", 400, "invalid_request"),
        (Some(&*good), &*both, 400, "invalid_request"),
    ];
    for (basic, form, status, error) in cases {
        let (answered, answer) = auth.form("/oauth2/token", basic, form).await;
        assert_eq!((answered.as_u16(), answer["error"].as_str()), (status, Some(error)), "{basic:?} {form}");
        assert!(!answer.to_string().contains(&secret));
    }
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn a_client_is_shown_without_its_secret_and_is_gone_when_removed(db: PgPool) {
    let auth = Running::start(db).await;
    let secret = auth.new_client("ci", "admin").await;
    let (_, list) = auth.call(root(), "GET", "/pilothouse/v1/clients", "").await;
    assert_eq!(list[0]["id"], "ci");
    assert!(list[0].get("secret").is_none() && !list.to_string().contains(&secret));
    let again = auth.call(root(), "POST", "/pilothouse/v1/clients", r#"{"id":"ci","role":"viewer"}"#).await;
    assert_eq!(
        (again.0, again.1["type"].as_str()),
        (StatusCode::CONFLICT, Some("urn:pilothouse:client-exists"))
    );
    for body in [r#"{"id":"a b","role":"viewer"}"#, r#"{"id":"a","role":"root"}"#, r#"{"id":"a"}"#] {
        assert_eq!(
            auth.call(root(), "POST", "/pilothouse/v1/clients", body).await.0,
            StatusCode::BAD_REQUEST
        );
    }
    assert_eq!(auth.call(root(), "DELETE", "/pilothouse/v1/clients/ci", "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(auth.call(root(), "DELETE", "/pilothouse/v1/clients/ci", "").await.0, StatusCode::NOT_FOUND);
    let refused = auth.form("/oauth2/token", Some(&format!("ci:{secret}")), GRANT).await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn only_administrators_make_clients(db: PgPool) {
    let auth = Running::start(db).await;
    let operator = Peer { uid: Some(4711), role: Some(Role::Operator), address: None };
    let body = r#"{"id":"ci","role":"viewer"}"#;
    for peer in [operator, through_gateway()] {
        let request =
            axum::http::Request::post("/pilothouse/v1/clients").header("x-forwarded-for", "10.0.0.9");
        let request = request.body(axum::body::Body::from(body)).unwrap();
        assert_eq!(auth.send(peer, request).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(auth.call(root(), "GET", "/pilothouse/v1/clients", "").await.1, serde_json::json!([]));
}
