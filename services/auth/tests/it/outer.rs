//! Another issuer that is there, changes its keys, goes away, and does not matter for ours.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use web::{Database, Trust, Verifier};

use crate::head::{Head, LIMIT};
use crate::signer::Signer;

/// What the services are told, once it is as it should be.
async fn told(head: &Head, good: impl Fn(&Trust) -> bool) -> Trust {
    let client = head.client();
    let asked = async {
        loop {
            match client.get::<Trust>("/pilothouse/v1/verifier").await {
                Ok(trust) if good(&trust) => return trust,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(LIMIT, asked).await.unwrap()
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn an_issuers_keys_are_found_by_discovery_and_outlive_it(db: PgPool) {
    let signer = Signer::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
    let keys: Arc<Mutex<Value>> = Arc::new(Mutex::new(json!({"keys": signer.jwks()})));
    let site = Router::new()
        .route("/.well-known/openid-configuration", get(async move || axum::Json(document)))
        .route("/keys", get(async move || axum::Json(keys.lock().unwrap().clone())));
    let serving = tokio::spawn(async move { axum::serve(listener, site).await });

    let mut head = Head::new();
    let table = format!(
        "[[auth.trusted]]\nissuer = {issuer:?}\naudience = 'hpc'\nclaim = 'groups'\nroles = {{ hpc = 'operator' }}\n"
    );
    head.add(&table);
    let stop = CancellationToken::new();
    let served = tokio::spawn(auth::serve_with(head.context(&stop), Database::ready(db.clone())));
    let trust = told(&head, |it| it.trusted.iter().any(|it| it.keys.len() == 2)).await;
    let verifier = Verifier::new(&head.document).unwrap();
    verifier.set(&trust);
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = json!({"iss": issuer, "sub": "bob", "aud": "hpc", "exp": now + 60, "groups": ["hpc"]});
    let token = signer.token(r#"{"alg":"ES256","kid":"ec"}"#, &claims.to_string());
    assert_eq!(verifier.verify(&token).unwrap().scopes(), domain::Role::Operator.scopes());

    // It goes away for good, and we start anew.
    serving.abort();
    stop.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(auth::serve_with(head.context(&stop), Database::ready(db)));
    let again = told(&head, |_| true).await;
    assert_eq!(again.trusted, trust.trusted);
    let issues = head.folder.path().join("auth/issues.json");
    let raised = async {
        while !std::fs::read_to_string(&issues).is_ok_and(|it| it.contains("issuer-unreachable")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, raised).await.unwrap();
    stop.cancel();
}
