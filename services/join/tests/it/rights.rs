//! Who may ask what.

use axum::http::StatusCode;
use domain::Service;
use serde_json::Value;
use sqlx::PgPool;

use super::head::{Head, IP, MAC, NODE};

#[sqlx::test(migrator = "join::MIGRATIONS")]
async fn each_path_is_for_its_own_callers(db: PgPool) {
    let head = Head::start(db, "policy = { compute = 'nonce' }").await;
    let window = format!("/pilothouse/v1/windows/{NODE}");
    let nonce = format!("/pilothouse/v1/nonces/{MAC}");
    let report = format!("/pilothouse/v1/reports/{NODE}");
    let enrolment = format!("/pilothouse/v1/enrolments/{NODE}/ek");
    let paths = [
        ("PUT", window.as_str(), Some(Service::Power)),
        ("PUT", nonce.as_str(), Some(Service::Boot)),
        ("PUT", report.as_str(), Some(Service::CloudInit)),
        ("PUT", enrolment.as_str(), None),
        ("GET", "/pilothouse/v1/nodes", None),
        ("GET", "/pilothouse/v1/key", None),
    ];
    for (method, path, friend) in paths {
        for service in Service::ALL {
            let (status, _) = head.service(service, method, path, "{}").await;
            let writes = service == Service::Boot || service == Service::CloudInit;
            let told = matches!(friend, Some(Service::Boot | Service::CloudInit)) || path == enrolment;
            let same = friend == Some(service) || (writes && told);
            let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            assert!(same || refused, "{service} {method} {path}: {status}");
        }
        let (status, _) = head.machine(IP, method, path, &Value::Null).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    let (status, key) = head.root("GET", "/pilothouse/v1/key", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(key["public"].as_str().unwrap().starts_with("ssh-ed25519 AAAA"), "{key}");
}
