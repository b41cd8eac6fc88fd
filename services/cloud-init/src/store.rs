//! All SQL of cloud-init.

use serde_json::Value;
use sqlx::PgTransaction;
use sqlx::types::Json;

use crate::model::{Entry, Part, Store};

type Column = Option<Json<Part>>;

/// Makes an entry without parts, unless there is one.
pub(crate) async fn insert_empty(tx: &mut PgTransaction<'_>, store: Store, name: &str) -> sqlx::Result<()> {
    sqlx::query(
        "insert into cloud_init_entry (store, name) values ($1, $2) on conflict (store, name) do nothing",
    )
    .bind(store.name())
    .bind(name)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An entry, locked until the transaction ends.
pub(crate) async fn find_for_update(
    tx: &mut PgTransaction<'_>,
    store: Store,
    name: &str,
) -> sqlx::Result<Option<Entry>> {
    let found: Option<(Column, Column, Column)> = sqlx::query_as(
        "select userdata, metadata, vendordata from cloud_init_entry
         where store = $1 and name = $2 for update",
    )
    .bind(store.name())
    .bind(name)
    .fetch_optional(&mut **tx)
    .await?;
    let part = |it: Column| it.map(|it| it.0);
    Ok(found.map(|it| Entry { userdata: part(it.0), metadata: part(it.1), vendordata: part(it.2) }))
}

/// Writes all parts of an entry that is there.
pub(crate) async fn update(
    tx: &mut PgTransaction<'_>,
    store: Store,
    name: &str,
    entry: &Entry,
) -> sqlx::Result<()> {
    let column = |it: &Option<Part>| it.as_ref().map(|it| serde_json::to_value(it).unwrap_or(Value::Null));
    sqlx::query(
        "update cloud_init_entry set userdata = $3, metadata = $4, vendordata = $5, changed = now()
         where store = $1 and name = $2",
    )
    .bind(store.name())
    .bind(name)
    .bind(column(&entry.userdata))
    .bind(column(&entry.metadata))
    .bind(column(&entry.vendordata))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes an entry away; whether there was one.
pub(crate) async fn delete(tx: &mut PgTransaction<'_>, store: Store, name: &str) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from cloud_init_entry where store = $1 and name = $2")
        .bind(store.name())
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() > 0)
}
