//! A Mirror and its source, through everything that may happen to either.

use domain::feed::Change;
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use web::Client;
use web::mirror::{Freshness, Mirror};

use crate::harness::{Follower, PATIENCE, Rows, Source, all, migrate, rows, until, until_live};

/// What the metrics say.
async fn metric(client: &Client, name: &str) -> i64 {
    let text = client.bytes(http::Method::GET, "/metrics", axum::body::Body::empty()).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find_map(|it| it.strip_prefix(name)).unwrap_or("0");
    line.trim().parse().unwrap()
}

#[sqlx::test(migrations = false)]
async fn a_change_is_seen_at_once_here_and_soon_elsewhere(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let source = Source::<Rows>::live(&db, folder.path()).await;
    source.commit(&rows(0, 3, "old")).await;
    let follower = Follower::start(&source.socket, &folder.path().join("f"));
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));

    // The last word about a row counts, and a deletion is a change too.
    let twice = [
        Change::put("thing", "000000", json!({"word": "first"})),
        Change::put("thing", "000000", json!({"word": "last", "b": 1, "a": 2.50})),
        Change::delete("thing", "000001"),
    ];
    source.commit(&twice).await;
    let here = all(&source.mirror);
    assert_eq!(here.0.len(), 2);
    assert_eq!(here.0[&("thing".to_owned(), "000000".to_owned())]["word"], "last");
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), here);

    // What others commit in the same database comes by its notification, as it was written.
    let mut tx = db.begin().await.unwrap();
    let seq = web::feed::record(&mut tx, &[Change::put("thing", "é\"", json!({"z": 1, "a": [null]}))]).await;
    tx.commit().await.unwrap();
    source.mirror.reached(seq.unwrap()).await.unwrap();
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    let row = all(&follower.mirror).0[&("thing".to_owned(), "é\"".to_owned())].to_string();
    assert_eq!(row, r#"{"z":1,"a":[null]}"#);
    follower.stop().await;
    source.stop().await;
}

#[sqlx::test(migrations = false)]
async fn many_writers_at_once_lose_nothing(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let source = Source::<Rows>::live(&db, folder.path()).await;
    let follower = Follower::start(&source.socket, &folder.path().join("f"));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let (database, mirror) = (source.database.clone(), source.mirror.clone());
        writers.spawn(async move {
            for n in 0..40_usize {
                let changes = rows(n, 2, &writer.to_string());
                let tx = database.begin().await.unwrap();
                web::feed::commit(tx, &changes, &mirror).await.unwrap();
                assert!(mirror.read(|it| it.0.contains_key(&("thing".to_owned(), format!("{:06}", n + 1)))));
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(source.mirror.seq(), 160);
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    let stored: Vec<(String, String)> =
        sqlx::query_as("select id, row::text from feed_row order by id").fetch_all(&db).await.unwrap();
    let served = all(&source.mirror).0;
    assert_eq!(
        served.values().map(ToString::to_string).collect::<Vec<_>>(),
        stored.into_iter().map(|it| it.1).collect::<Vec<_>>()
    );
    follower.stop().await;
    source.stop().await;
    // The file alone has all of it too.
    let again = Mirror::<Rows>::load(folder.path().join("state"), "rows").unwrap();
    assert_eq!((again.freshness(), again.seq()), (Freshness::LastGood, 160));
    assert_eq!(all(&again).0, served);
}

#[sqlx::test(migrations = false)]
async fn who_is_further_back_than_what_is_kept_reads_a_snapshot(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("f");
    let source = Source::<Rows>::live(&db, folder.path()).await;
    source.commit(&rows(0, 10, "old")).await;
    let follower = Follower::start(&source.socket, &state);
    follower.level(&source).await;
    follower.stop().await;

    source.commit(&[Change::delete("thing", "000003")]).await;
    source.commit(&rows(4, 1, "new")).await;
    sqlx::query("update feed_row set changed = now() - interval '25 hours'").execute(&db).await.unwrap();
    assert_eq!(web::feed::prune(&db).await.unwrap(), 1);
    assert_eq!(web::feed::prune(&db).await.unwrap(), 0);
    let follower = Follower::start(&source.socket, &state);
    assert_eq!(follower.mirror.freshness(), Freshness::LastGood);
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    assert_eq!(all(&follower.mirror).0.len(), 9);
    follower.stop().await;

    // Not forgotten, but so many that they would not fit in memory at once.
    for first in (0..24_000).step_by(8_000) {
        source.commit(&rows(first, 8_000, "many")).await;
    }
    let follower = Follower::start(&source.socket, &state);
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    follower.stop().await;
    source.stop().await;
}

#[sqlx::test(migrations = false)]
async fn another_history_replaces_the_one_before(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let source = Source::<Rows>::live(&db, folder.path()).await;
    source.commit(&rows(0, 10, "before")).await;
    let follower = Follower::start(&source.socket, &folder.path().join("f"));
    follower.level(&source).await;
    source.stop().await;
    until(&follower.mirror, |_| follower.mirror.freshness() == Freshness::LastGood).await;

    // A backup is restored: other rows, and numbers that were given before.
    let restored =
        "delete from feed_row where id > '000004'; update feed set epoch = gen_random_uuid(), seq = 1";
    sqlx::raw_sql(restored).execute(&db).await.unwrap();
    let source = Source::<Rows>::live(&db, folder.path()).await;
    assert_eq!(all(&source.mirror).0.len(), 5);
    until(&follower.mirror, |it| it.0.len() == 5).await;
    source.commit(&rows(7, 1, "after")).await;
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));

    // The same while everybody is looking.
    let restored =
        "delete from feed_row where id > '000002'; update feed set epoch = gen_random_uuid(), seq = 40;
        select pg_notify('feed', '41')";
    sqlx::raw_sql(restored).execute(&db).await.unwrap();
    until(&source.mirror, |it| it.0.len() == 3).await;
    until(&follower.mirror, |it| it.0.len() == 3).await;
    source.commit(&rows(8, 1, "after")).await;
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    follower.stop().await;
    source.stop().await;
}

#[sqlx::test(migrations = false)]
async fn both_sides_restart_and_go_on_where_they_were(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let (state, mut source) = (folder.path().join("f"), Source::<Rows>::live(&db, folder.path()).await);
    let mut follower = Follower::start(&source.socket, &state);
    for round in 0..4_usize {
        source.commit(&rows(round, 3, &round.to_string())).await;
        follower.level(&source).await;
        let known = all(&follower.mirror);
        if round % 2 == 0 {
            // What was known is served meanwhile, also after a restart of whoever serves it.
            source.stop().await;
            until(&follower.mirror, |_| follower.mirror.freshness() == Freshness::LastGood).await;
            follower.stop().await;
            follower = Follower::start(&folder.path().join("run/inventory.sock"), &state);
            assert_eq!((follower.mirror.freshness(), all(&follower.mirror)), (Freshness::LastGood, known));
            source = Source::start(&db, folder.path());
            assert_eq!(all(&source.mirror), all(&follower.mirror));
            until_live(&source.mirror).await;
        } else {
            follower.stop().await;
            source.commit(&[Change::delete("thing", format!("{round:06}"))]).await;
            follower = Follower::start(&source.socket, &state);
        }
    }
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    follower.stop().await;
    source.stop().await;
}

/// It holds up neither the writers nor the others, and gets all of it when it comes back.
#[sqlx::test(migrations = false)]
async fn a_consumer_that_does_not_read_is_cut_off(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let source = Source::<Rows>::live(&db, folder.path()).await;
    source.commit(&rows(0, 1, "first")).await;
    let client = Client::unix(&source.socket);
    let epoch: uuid::Uuid = sqlx::query_scalar("select epoch from feed").fetch_one(&db).await.unwrap();
    let follower = Follower::start(&source.socket, &folder.path().join("f"));
    follower.level(&source).await;
    let mut sleeper = UnixStream::connect(&source.socket).await.unwrap();
    let request = format!("GET /changes?epoch={epoch}&after=0 HTTP/1.1\r\nhost: x\r\n\r\n");
    sleeper.write_all(request.as_bytes()).await.unwrap();

    let word = "x".repeat(10_000);
    let cut_off = async {
        let mut n = 0;
        while metric(&client, "pilothouse_feed_cut_off_total").await == 0 {
            n += 1;
            source.commit(&rows(n % 50, 2, &format!("{n}{word}"))).await;
            follower.level(&source).await;
        }
        n
    };
    let n = tokio::time::timeout(PATIENCE, cut_off).await.unwrap();
    assert!(n > 1);
    // What it reads now ends, and it begins where that ended.
    let mut text = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, sleeper.read_to_end(&mut text)).await.unwrap();
    assert!(ended.is_ok() || !text.is_empty());
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    follower.stop().await;
    source.stop().await;
}
