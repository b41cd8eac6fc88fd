use daemon::{Context, Paths};
use domain::inventory::Inventory;
use domain::{Document, Service};
use sqlx::PgPool;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use web::Database;
use web::mirror::Mirror;

use crate::config::Config;
use crate::journal::Journal;
use crate::model::{Deed, Verdict};
use crate::{Timeline, store};

const NOW: OffsetDateTime = datetime!(2026-11-23 08:00 UTC);
const HEAD: &str = "0123456789abcdef0123456789abcdef";

fn timeline(db: PgPool, folder: &std::path::Path) -> (Timeline, Journal) {
    let text = "version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n";
    let document = Document::parse(text).unwrap();
    let config = Config::parse(&document).unwrap();
    let paths = Paths {
        config: folder.join("none"),
        run: folder.join("run"),
        state: folder.into(),
        credentials: None,
    };
    let inventory = Mirror::<Inventory>::load(&paths.state, "inventory").unwrap();
    let stop = CancellationToken::new();
    let context = Context::new(Service::Timeline, paths, document, Vec::new(), stop).unwrap();
    let journal = Journal::new("/nonexistent", folder, HEAD);
    let timeline = Timeline::new(context, config, inventory, Database::ready(db), Some(journal.clone()));
    (timeline, journal)
}

fn deed(days_ago: i64) -> Deed {
    let word = str::to_owned;
    Deed {
        time: NOW - time::Duration::days(days_ago),
        source: word("power"),
        actor: word("alice"),
        whence: word("local"),
        what: format!("what was done {days_ago} days ago"),
        result: word("ok"),
        node: None,
    }
}

async fn add(timeline: &Timeline, journal: &Journal, place: &mut store::Chain, days: &[i64]) {
    let deeds = days.iter().copied().map(deed).collect();
    timeline.append(journal, place, deeds, "cursor".to_owned()).await.unwrap();
}

async fn verdict(timeline: &Timeline) -> Verdict {
    timeline.verify_audit().await.unwrap().pop().unwrap()
}

#[sqlx::test(migrator = "crate::MIGRATIONS")]
async fn what_is_old_is_removed_and_the_rest_holds(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (timeline, journal) = timeline(db, folder.path());
    let mut place = timeline.resume(&journal).await.unwrap();
    add(&timeline, &journal, &mut place, &[500, 450, 400, 350, 420, 100, 0]).await;
    // The fifth is older than the fourth, by a clock that was set: what stands behind a young one stays.
    assert_eq!(timeline.prune_audit(HEAD, NOW).await.unwrap(), 2);
    assert_eq!(timeline.prune_audit(HEAD, NOW).await.unwrap(), 0);
    let told = verdict(&timeline).await;
    assert_eq!((told.pruned, told.records, &told.broken), (2, 5, &None));
    // Whoever began before the removal goes on behind it, and so does whoever begins now.
    add(&timeline, &journal, &mut place, &[0]).await;
    let mut place = timeline.resume(&journal).await.unwrap();
    add(&timeline, &journal, &mut place, &[0, 0]).await;
    assert_eq!(verdict(&timeline).await.broken, None);
    // The last one is what the next follows from.
    let later = NOW + time::Duration::days(1000);
    assert_eq!(timeline.prune_audit(HEAD, later).await.unwrap(), 7);
    let told = verdict(&timeline).await;
    assert_eq!((told.pruned, told.records, told.last.id, &told.broken), (9, 1, 10, &None));
}

#[sqlx::test(migrator = "crate::MIGRATIONS")]
async fn two_cannot_write_to_one_chain(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (timeline, journal) = timeline(db, folder.path());
    let mut one = timeline.resume(&journal).await.unwrap();
    let mut two = timeline.resume(&journal).await.unwrap();
    add(&timeline, &journal, &mut one, &[1]).await;
    let refused = timeline.append(&journal, &mut two, vec![deed(1)], "cursor".to_owned()).await;
    assert!(refused.is_err());
    assert_eq!(verdict(&timeline).await.records, 1);
}

/// A disk that is new beside a database that is not.
#[sqlx::test(migrator = "crate::MIGRATIONS")]
async fn without_its_file_a_chain_goes_on(db: PgPool) {
    let folder = tempfile::tempdir().unwrap();
    let (timeline, journal) = timeline(db, folder.path());
    let mut place = timeline.resume(&journal).await.unwrap();
    add(&timeline, &journal, &mut place, &[500, 1]).await;
    assert_eq!(timeline.prune_audit(HEAD, NOW).await.unwrap(), 1);
    std::fs::remove_file(folder.path().join(super::ANCHOR)).unwrap();
    let mut place = timeline.resume(&journal).await.unwrap();
    add(&timeline, &journal, &mut place, &[0]).await;
    let told = verdict(&timeline).await;
    assert_eq!((told.records, told.last.id, told.broken), (2, 3, None));
}
