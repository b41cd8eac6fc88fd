#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use sqlx::postgres::PgPoolOptions;
use web::Database;
use web::mirror::Mirror;

use super::{App, openapi, routes};
use crate::store::Store;
use crate::vault::Vault;

/// A service without a database: enough to be asked who may do what.
#[tokio::test]
async fn the_document_names_every_route_and_its_right() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Mirror::load(folder.path(), "catalog").unwrap();
    let pool = PgPoolOptions::new().connect_lazy("postgres://nobody@localhost:1/none").unwrap();
    let app = App {
        store: Store::new(Database::ready(pool), catalog),
        vault: Arc::new(Vault::load(None, folder.path().join("accounts")).unwrap()),
        host_pattern: "nid{nid:03}".into(),
    };
    let (router, document) = (routes(app).unwrap(), openapi::document().unwrap());
    assert_eq!(web::openapi::undocumented(&router, &document), Vec::<String>::new());
    assert_eq!(web::openapi::unguarded(router, &document).await, Vec::<String>::new());
}

#[test]
fn each_shape_is_a_schema() {
    type Read = utoipa::openapi::RefOr<utoipa::openapi::Schema>;
    let all: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(super::openapi::SCHEMAS).unwrap();
    let wrong = all.into_iter().filter(|it| serde_json::from_value::<Read>(it.1.clone()).is_err());
    assert_eq!(wrong.map(|it| it.0).collect::<Vec<_>>(), Vec::<String>::new());
}
