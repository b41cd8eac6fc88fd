//! Without PostgreSQL, and with more than it can hold; partitions.

use domain::Service;
use serde_json::json;
use sqlx::{Executor, PgPool};
use timeline::client;

use super::head::{Head, until};

async fn count(db: &PgPool, table: &str) -> i64 {
    let text = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(db).await.unwrap_or(-1)
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn steps_wait_for_the_database_and_the_oldest_are_given_up(db: PgPool) {
    // Nobody can write.
    db.execute("alter table event rename to event_away").await.unwrap();
    let head = Head::start(db.clone(), 1, "queue = 1000").await;
    for _ in 0..1500 {
        head.tell(Service::Power, 1, "power-on", json!({})).await;
    }
    until(async || head.get("/readyz").await.unwrap()["waiting"] == 1000).await;
    let shown = client::show(&head.client(), "nid001").await.unwrap();
    assert_eq!(shown.boot.stage.name(), "power-on", "the present boot is in memory");
    db.execute("alter table event_away rename to event").await.unwrap();
    until(async || count(&db, "event").await == 1000 && count(&db, "boot").await > 0).await;
    head.stop().await;
}

#[sqlx::test(migrator = "timeline::MIGRATIONS")]
async fn partitions_are_made_ahead_and_dropped(db: PgPool) {
    for table in ["event", "boot"] {
        let old = format!(
            "create table {table}_20200101 partition of {table} for values from ('2020-01-01') to ('2020-01-02');
             create table {table}_mine partition of {table} for values from ('2020-02-01') to ('2020-02-02')"
        );
        db.execute(sqlx::AssertSqlSafe(old)).await.unwrap();
    }
    let head = Head::start(db.clone(), 1, "").await;
    let names = async || -> Vec<String> {
        sqlx::query_scalar(
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'event'::regclass order by 1",
        )
        .fetch_all(&db)
        .await
        .unwrap()
    };
    // Today's and tomorrow's; what is not named as ours are stays.
    until(async || names().await.len() == 3).await;
    let names = names().await;
    assert!(!names.contains(&"event_20200101".to_owned()), "{names:?}");
    assert!(names.contains(&"event_mine".to_owned()), "{names:?}");
    head.stop().await;
}
