//! The last good copy, cut off and spoiled at every place.

use domain::feed::Change;
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;
use web::mirror::{Freshness, Mirror};

use crate::harness::{Follower, Rows, Source, all, migrate, rows};

const EPOCH: &str = "7f0c2a52-2a51-4a54-9d0e-2d2c6a1ad9ab";

/// A snapshot of two rows at 5, and the transactions 6 and 7.
fn text() -> String {
    let lines = [
        json!({"epoch": EPOCH, "seq": 5, "schema": 1}),
        json!({"kind": "thing", "id": "a", "row": {"n": 1}}),
        json!({"kind": "thing", "id": "b", "row": {"n": 1}}),
        json!({"seq": 5}),
        json!({"seq": 6, "kind": "thing", "id": "a", "row": {"n": 2}}),
        json!({"seq": 6, "kind": "thing", "id": "b", "row": null}),
        json!({"seq": 6}),
        json!({"seq": 7, "kind": "thing", "id": "c", "row": {"n": 3}}),
        json!({"seq": 7}),
    ];
    lines.iter().map(|it| format!("{it}\n")).collect()
}

fn load(text: &[u8]) -> Mirror<Rows> {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("rows.ndjson"), text).unwrap();
    Mirror::load(folder.path(), "rows").unwrap()
}

/// `a=1 b=1`
fn shown(mirror: &Mirror<Rows>) -> String {
    let all = all(mirror);
    all.0.iter().map(|((_, id), row)| format!("{id}={} ", row["n"])).collect()
}

#[test]
fn only_whole_transactions_count_wherever_it_was_cut_off() {
    let text = text();
    let ends: Vec<usize> = text.match_indices('\n').map(|it| it.0 + 1).collect();
    for cut in 0..=text.len() {
        let mirror = load(&text.as_bytes()[..cut]);
        let lines = ends.iter().filter(|it| **it <= cut).count();
        let expected = match lines {
            0 | 1 => ("", 0),
            2 => ("a=1 ", 5),
            3..=6 => ("a=1 b=1 ", 5),
            7 | 8 => ("a=2 ", 6),
            _ => ("a=2 c=3 ", 7),
        };
        assert_eq!((shown(&mirror).as_str(), mirror.seq()), expected, "cut at {cut}");
        let fresh = if lines < 2 { Freshness::Empty } else { Freshness::LastGood };
        assert_eq!(mirror.freshness(), fresh, "cut at {cut}");
    }
}

#[test]
fn a_spoilt_line_ends_what_is_read() {
    let lines: Vec<String> = text().lines().map(str::to_owned).collect();
    for spoilt in 0..lines.len() {
        let mut lines = lines.clone();
        lines[spoilt] = "\u{0}\u{0}".to_owned();
        let mirror = load((lines.join("\n") + "\n").as_bytes());
        let seq = match spoilt {
            0 | 1 => 0,
            2..=6 => 5,
            _ => 6,
        };
        assert_eq!(mirror.seq(), seq, "line {spoilt}");
    }
    let other = text().replace("\"schema\":1", "\"schema\":2");
    assert_eq!(load(other.as_bytes()).freshness(), Freshness::Empty);
}

/// The file of each side is spoilt while it is down; afterwards it is continued, and good for the next start.
#[sqlx::test(migrations = false)]
async fn a_torn_copy_is_made_good_and_continued(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let (own, theirs) = (folder.path().join("state/rows.ndjson"), folder.path().join("f/neighbour.ndjson"));
    let mut source = Source::<Rows>::live(&db, folder.path()).await;
    source.commit(&rows(0, 20, "snapshot")).await;
    let mut follower = Follower::start(&source.socket, &folder.path().join("f"));
    follower.level(&source).await;
    for (round, kept) in [0.2, 0.5, 0.9, 0.999].into_iter().enumerate() {
        source.commit(&rows(30 + round, 1, "appended")).await;
        follower.level(&source).await;
        follower.stop().await;
        source.stop().await;
        for file in [&own, &theirs] {
            let text = std::fs::read(file).unwrap();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a length"
            )]
            let length = (text.len() as f64 * kept) as usize;
            std::fs::write(file, &text[..length]).unwrap();
        }
        source = Source::live(&db, folder.path()).await;
        assert_eq!(all(&source.mirror).0.len(), 21 + round);
        follower = Follower::start(&source.socket, &folder.path().join("f"));
        source.commit(&[Change::put("thing", "last", json!({"round": round}))]).await;
        source.commit(&[Change::delete("thing", "last")]).await;
        follower.level(&source).await;
        assert_eq!(all(&follower.mirror), all(&source.mirror));
        // As the next start will find them.
        for (file, name) in [(&own, "rows"), (&theirs, "neighbour")] {
            let copy = TempDir::new().unwrap();
            std::fs::copy(file, copy.path().join(format!("{name}.ndjson"))).unwrap();
            let read = Mirror::<Rows>::load(copy.path(), name).unwrap();
            assert_eq!((read.seq(), all(&read)), (source.mirror.seq(), all(&source.mirror)), "{name} {kept}");
        }
    }
    follower.stop().await;
    source.stop().await;
}

/// A disk that is full costs the copy, not the service.
#[sqlx::test(migrations = false)]
async fn what_cannot_be_written_is_served_all_the_same(db: PgPool) {
    migrate(&db).await;
    let folder = TempDir::new().unwrap();
    let source = Source::<Rows>::live(&db, folder.path()).await;
    // A folder in the file's place, and one in the draft's: neither can be opened, by root as well.
    std::fs::create_dir_all(folder.path().join("f/neighbour.new/x")).unwrap();
    let follower = Follower::start(&source.socket, &folder.path().join("f"));
    source.commit(&rows(0, 5, "x")).await;
    follower.level(&source).await;
    assert_eq!(all(&follower.mirror), all(&source.mirror));
    assert!(!folder.path().join("f/neighbour.ndjson").exists());
    follower.stop().await;
    source.stop().await;
}
