//! All SQL of cloud-init.

use serde_json::Value;
use sqlx::PgTransaction;
use sqlx::types::Json;

use crate::model::{ClusterDefaults, Entry, InstanceInfo, Part, Store};

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

/// Makes a group of the present API, unless there is one; whether it was made.
pub(crate) async fn insert_group(tx: &mut PgTransaction<'_>, name: &str, data: &Value) -> sqlx::Result<bool> {
    let sql = "insert into cloud_init_group (name, data) values ($1, $2) on conflict (name) do nothing";
    let done = sqlx::query(sql).bind(name).bind(data).execute(&mut **tx).await?;
    Ok(done.rows_affected() > 0)
}

/// Makes or replaces a group.
pub(crate) async fn put_group(tx: &mut PgTransaction<'_>, name: &str, data: &Value) -> sqlx::Result<()> {
    sqlx::query(
        "insert into cloud_init_group (name, data) values ($1, $2)
         on conflict (name) do update set data = excluded.data, changed = now()",
    )
    .bind(name)
    .bind(data)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes a group away; whether there was one.
pub(crate) async fn delete_group(tx: &mut PgTransaction<'_>, name: &str) -> sqlx::Result<bool> {
    let sql = "delete from cloud_init_group where name = $1";
    Ok(sqlx::query(sql).bind(name).execute(&mut **tx).await?.rows_affected() > 0)
}

/// What is set for a node, locked until the transaction ends; made first if there is nothing.
pub(crate) async fn lock_instance(tx: &mut PgTransaction<'_>, node: &str) -> sqlx::Result<InstanceInfo> {
    let made = "insert into cloud_init_instance (node, data) values ($1, '{}') on conflict (node) do nothing";
    sqlx::query(made).bind(node).execute(&mut **tx).await?;
    let sql = "select data from cloud_init_instance where node = $1 for update";
    let found: Json<InstanceInfo> = sqlx::query_scalar(sql).bind(node).fetch_one(&mut **tx).await?;
    Ok(found.0)
}

/// Writes what is set for a node that is there.
pub(crate) async fn update_instance(
    tx: &mut PgTransaction<'_>,
    node: &str,
    data: &Value,
) -> sqlx::Result<()> {
    let sql = "update cloud_init_instance set data = $2, changed = now() where node = $1";
    sqlx::query(sql).bind(node).bind(data).execute(&mut **tx).await?;
    Ok(())
}

/// Takes away what is set for a node; whether there was anything.
pub(crate) async fn delete_instance(tx: &mut PgTransaction<'_>, node: &str) -> sqlx::Result<bool> {
    let sql = "delete from cloud_init_instance where node = $1";
    Ok(sqlx::query(sql).bind(node).execute(&mut **tx).await?.rows_affected() > 0)
}

/// The cluster defaults, locked until the transaction ends.
pub(crate) async fn lock_defaults(tx: &mut PgTransaction<'_>) -> sqlx::Result<ClusterDefaults> {
    let sql = "select data from cloud_init_defaults for update";
    let found: Option<Json<ClusterDefaults>> = sqlx::query_scalar(sql).fetch_optional(&mut **tx).await?;
    Ok(found.map(|it| it.0).unwrap_or_default())
}

/// Writes the cluster defaults.
pub(crate) async fn put_defaults(tx: &mut PgTransaction<'_>, data: &Value) -> sqlx::Result<()> {
    sqlx::query(
        "insert into cloud_init_defaults (data) values ($1)
         on conflict (only_one) do update set data = excluded.data, changed = now()",
    )
    .bind(data)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
