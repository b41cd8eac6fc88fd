//! ca while PostgreSQL comes and goes, and the document changes.

use std::os::unix::fs::PermissionsExt;

use axum::http::StatusCode;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use web::{ClientError, Database};

use crate::head::{Head, LIMIT, gateway, request_pem, until};

/// What is issued in this document, without a database.
async fn chain(head: &Head) -> String {
    let context = head.context(&CancellationToken::new());
    let ca = ca::open(&context, &Database::of(&context)).unwrap();
    let (status, answer) = head.call(&ca, gateway(), &[], json!({"csr_pem": request_pem()})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["chain_pem"].as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "ca::MIGRATIONS")]
async fn the_root_outlives_the_database_and_a_new_address(db: PgPool) {
    let mut head = Head::new();
    let stop = CancellationToken::new();
    let served = tokio::spawn(ca::serve_with(head.context(&stop), Database::ready(db.clone())));
    until(|| head.root_file().exists() && head.folder.path().join("state/authorities.json").exists()).await;
    let root = ca::client::root_pem(&head.client()).await.unwrap();
    assert_eq!(std::fs::read(head.root_file()).unwrap(), root);
    let mode =
        |file: &str| std::fs::metadata(head.folder.path().join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca/root.pem"), mode("state/authorities.json")), (0o644, 0o600));
    stop.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();

    let before = chain(&head).await;
    let intermediate = before.split_inclusive("-----END CERTIFICATE-----\n").nth(1).unwrap().to_owned();
    assert!(chain(&head).await.ends_with(&intermediate), "the same names, the same intermediate");
    head.move_to("10.20.0.1/16");
    assert!(!chain(&head).await.ends_with(&intermediate), "another network, another intermediate");

    // The database hears of it, and a head that lost its state folder has the same root.
    let context = head.context(&CancellationToken::new());
    ca::open(&context, &Database::ready(db.clone()))
        .unwrap()
        .upkeep(&context, &Database::ready(db.clone()))
        .await;
    let count: i64 = sqlx::query_scalar("select count(*) from authority").fetch_one(&db).await.unwrap();
    assert_eq!(count, 3);
    std::fs::remove_dir_all(head.folder.path().join("state")).unwrap();
    ca::open(&context, &Database::ready(db.clone())).unwrap().upkeep(&context, &Database::ready(db)).await;
    assert_eq!(std::fs::read(head.root_file()).unwrap(), root);
}

#[tokio::test]
async fn the_very_first_start_waits_for_the_database() {
    let head = Head::new();
    let stop = CancellationToken::new();
    let served = tokio::spawn(ca::serve(head.context(&stop)));
    let answer = tokio::time::timeout(LIMIT, ca::client::root_pem(&head.client())).await.unwrap();
    assert!(matches!(answer, Err(ClientError::Status { status: StatusCode::SERVICE_UNAVAILABLE, .. })));
    // Through a real socket this process is not the gateway.
    let refused = ca::client::head_certificate(&head.client(), &request_pem()).await;
    assert!(matches!(refused, Err(ClientError::Status { status: StatusCode::FORBIDDEN, .. })));
    stop.cancel();
    tokio::time::timeout(LIMIT, served).await.unwrap().unwrap().unwrap();
}
