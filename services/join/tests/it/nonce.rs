//! A nonce from the boot script to the token, and everybody who should not have it.

use axum::http::StatusCode;
use domain::Service;
use serde_json::{Value, json};
use sqlx::PgPool;
use web::Peer;

use super::head::{Head, IP, MAC, NODE, OTHER};

const TABLE: &str = "policy = { compute = 'nonce' }";
/// The issue's count.
const TRIES: usize = 1000;

fn window() -> String {
    format!("/pilothouse/v1/windows/{NODE}")
}

/// As power opens a window, boot renders a script, and the node gets its address.
async fn boot(head: &Head) {
    let (status, body) = head.service(Service::Power, "PUT", &window(), "{}").await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    let (status, body) =
        head.service(Service::Boot, "PUT", &format!("/pilothouse/v1/nonces/{MAC}"), "").await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    *head.neighbours.leased.lock().unwrap() = true;
}

/// The second initrd: its nonce, or the refusal's status.
async fn fetch(head: &Head, address: &str) -> Result<String, StatusCode> {
    let gateway = Peer::of_uid(Service::Gateway.uid());
    let (status, body) = head.send(gateway, Some(address), "GET", &format!("/join/{MAC}.cpio"), "").await;
    if status != StatusCode::OK {
        return Err(status);
    }
    let text = String::from_utf8_lossy(&body);
    let nonce = text.split("pilothouse-join.nonce").nth(1).unwrap();
    Ok(nonce.chars().filter(char::is_ascii_hexdigit).take(64).collect())
}

async fn trade(head: &Head, address: &str, nonce: &str) -> (StatusCode, Value) {
    head.machine(address, "POST", "/join/token", &json!({"mac": MAC, "nonce": nonce})).await
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn a_node_trades_the_nonce_of_its_boot_for_its_token_once(db: PgPool) {
    let mut head = Head::start(db, TABLE).await;
    assert_eq!(fetch(&head, IP).await, Err(StatusCode::FORBIDDEN), "no window");
    boot(&head).await;
    *head.neighbours.leased.lock().unwrap() = false;
    assert_eq!(fetch(&head, IP).await, Err(StatusCode::FORBIDDEN), "no lease");
    *head.neighbours.leased.lock().unwrap() = true;
    assert_eq!(fetch(&head, "172.16.0.2").await, Err(StatusCode::FORBIDDEN), "another address");
    // Firmware that fetches again uses the last.
    fetch(&head, IP).await.unwrap();
    let nonce = fetch(&head, IP).await.unwrap();
    // Windows and nonces outlive the service.
    head.stop().await;
    let kept = std::fs::read_to_string(head.folder.path().join("state/state.json")).unwrap();
    assert!(kept.contains(NODE) && !kept.contains(&nonce), "{kept}");
    head.start_again().await;
    let (status, _) = trade(&head, "172.16.0.2", &nonce).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "from elsewhere");
    let (status, token) = trade(&head, IP, &nonce).await;
    assert_eq!(status, StatusCode::OK, "{token}");
    assert_eq!(token["access_token"], format!("token-of-{NODE}"));
    assert_eq!(*head.neighbours.tokens.lock().unwrap(), [json!({"xname": NODE, "seconds": 600})]);
    head.stop().await;
    head.start_again().await;
    assert_eq!(fetch(&head, IP).await, Err(StatusCode::FORBIDDEN), "spent, also after a restart");
    assert!(head.issues().is_empty());
    let (status, _) = trade(&head, IP, &nonce).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "a replay");
    assert_eq!(head.issues()[0]["id"], format!("join-contested/{NODE}"));
    // The next boot heals it.
    boot(&head).await;
    let nonce = fetch(&head, IP).await.unwrap();
    assert_eq!(trade(&head, IP, &nonce).await.0, StatusCode::OK);
    assert!(head.issues().is_empty());
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn replays_guesses_and_spoofers_get_403(db: PgPool) {
    let head = Head::start(db, TABLE).await;
    boot(&head).await;
    let nonce = fetch(&head, IP).await.unwrap();
    for number in 0..TRIES {
        let (status, _) = trade(&head, IP, &format!("{number:064x}")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "a guess");
    }
    assert_eq!(trade(&head, IP, &nonce).await.0, StatusCode::OK, "guesses harm nobody");
    for _ in 0..TRIES {
        assert_eq!(fetch(&head, IP).await, Err(StatusCode::FORBIDDEN), "a spoofer after the exchange");
        assert_eq!(trade(&head, IP, &nonce).await.0, StatusCode::FORBIDDEN, "a replay");
    }
    assert_eq!(head.neighbours.tokens.lock().unwrap().len(), 1);
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn a_second_claim_of_one_window_voids_it(db: PgPool) {
    let head = Head::start(db, TABLE).await;
    boot(&head).await;
    let nonces = [fetch(&head, IP).await.unwrap(), fetch(&head, IP).await.unwrap()];
    assert_eq!(trade(&head, IP, &nonces[0]).await.0, StatusCode::OK);
    assert_eq!(*head.neighbours.ended.lock().unwrap(), [""; 0]);
    assert_eq!(trade(&head, IP, &nonces[1]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(*head.neighbours.ended.lock().unwrap(), [NODE], "the first one's token is good no longer");
    let issue = &head.issues()[0];
    assert_eq!(
        (issue["kind"].as_str(), issue["context"]["addresses"][0].as_str()),
        (Some("join-contested"), Some(IP))
    );
    assert_eq!(fetch(&head, IP).await, Err(StatusCode::FORBIDDEN));
}

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn a_window_is_for_nodes_with_the_policy_and_can_be_closed(db: PgPool) {
    let head = Head::start(db, TABLE).await;
    let other = format!("/pilothouse/v1/windows/{OTHER}");
    let (status, body) = head.root("PUT", &other, "{}").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert_eq!(head.service(Service::Power, "PUT", &other, "{}").await.0, StatusCode::NO_CONTENT);
    assert_eq!(head.root("PUT", &window(), r#"{"seconds": 0}"#).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(head.root("PUT", "/pilothouse/v1/windows/nid099", "{}").await.0, StatusCode::NOT_FOUND);
    boot(&head).await;
    let (_, list) = head.root("GET", "/pilothouse/v1/nodes", "").await;
    assert_eq!((list[0]["window"].as_str(), list.as_array().unwrap().len()), (Some("open"), 1), "{list}");
    assert_eq!(head.root("DELETE", "/pilothouse/v1/windows/nid001", "").await.0, StatusCode::NO_CONTENT);
    assert_eq!(fetch(&head, IP).await, Err(StatusCode::FORBIDDEN));
    for path in ["/join/x.cpio", "/join/52:54:00:10:00:01", "/join/token"] {
        let gateway = Peer::of_uid(Service::Gateway.uid());
        let (status, _) = head.send(gateway, Some(IP), "GET", path, "").await;
        assert!(status.is_client_error(), "{path}: {status}");
    }
}
