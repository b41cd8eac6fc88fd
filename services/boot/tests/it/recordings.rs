//! The recorded exchanges of BSS.

use sqlx::PgPool;

use crate::harness::{Running, rows, serve_inventory};
use crate::replay::replay;

const TABLE: &str = "[boot]\nadvertise_url = \"https://demo.openchami.cluster\"\n";

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn scripts_are_as_recorded(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (socket, _serving) = serve_inventory(folder.path(), rows(&[]));
    let service = Running::live(TABLE, folder.path(), db, &socket).await;
    // The inventory's part of the recording is the rows above.
    let ours = |path: &str| !path.starts_with("/hsm/");
    assert_eq!(replay(&service.router, "../../tests/contract/bss-script.jsonl", ours).await, 39);
    service.stop().await;
}

#[sqlx::test(migrator = "boot::MIGRATIONS")]
async fn parameters_are_as_recorded(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let header = rows(&[]).lines().take(1).map(|it| format!("{it}\n")).collect();
    let (socket, _serving) = serve_inventory(folder.path(), header);
    let service = Running::live(TABLE, folder.path(), db, &socket).await;
    assert_eq!(replay(&service.router, "../../tests/contract/bss-params.jsonl", |_| true).await, 65);
    service.stop().await;
}
