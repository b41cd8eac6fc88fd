//! Who may read and write what.

use axum::http::StatusCode;
use sqlx::PgPool;

use crate::harness::{Running, rows, serve_inventory};

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn scripts_are_open_and_parameters_are_not(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live("", folder.path(), db, &socket).await;
    let nobody = Some(65534);
    for (method, path) in [
        ("GET", "/boot/v1/bootparameters"),
        ("POST", "/boot/v1/bootparameters/"),
        ("PUT", "/boot/v1/bootparameters"),
        ("PATCH", "/boot/v1/bootparameters"),
        ("DELETE", "/boot/v1/bootparameters"),
        ("GET", "/pilothouse/v1/script/nid002"),
        ("GET", "/snapshot"),
        ("GET", "/changes?epoch=6b1b36cb-31e2-4d9c-8d0c-6f0c3c2f6c55&after=0"),
    ] {
        let (status, text) = service.ask(nobody, method, path, "{}").await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::UNAUTHORIZED, "no token found\n"),
            "{method} {path}"
        );
    }
    for path in ["/boot/v1/bootscript?mac=zz", "/boot/v1/hosts", "/boot/v1/service/status", "/readyz"] {
        assert_eq!(service.ask(nobody, "GET", path, "").await.0, StatusCode::OK, "{path}");
    }
    // images may read what boot names, and no more.
    let images = Some(domain::Service::Images.uid());
    assert_eq!(service.ask(images, "GET", "/snapshot", "").await.0, StatusCode::OK);
    let (status, _) = service.ask(images, "PUT", "/boot/v1/bootparameters", "{}").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    service.stop().await;
}
