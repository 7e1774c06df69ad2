//! Commits while a backup holds an old snapshot, so that no version of a lane's row may go.

use std::io::Write as _;
use std::time::{Duration, Instant};

use actors::lane::Lane;
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::batches::Owner;
use super::places::{self, Place};

/// Commits of each window; `SNAPSHOT_COMMITS` asks for another number.
const COMMITS: u32 = 200;
/// Windows while the snapshot is open.
const WINDOWS: u32 = 4;

/// Commits empty batches, and gives the mean time of one.
#[expect(clippy::disallowed_methods, reason = "the figure is a time")]
async fn commits(owner: &mut Owner, count: u32) -> Duration {
    let began = Instant::now();
    for _ in 0..count {
        let batch = owner.batch();
        owner.commit(batch).await.expect("a backup stops no commit");
    }
    began.elapsed() / count
}

/// Pages of `lanes` that were looked at, and versions of rows that were written, as far as the server has
/// counted.
async fn counted(place: &Place) -> (i64, i64) {
    let counts = "SELECT heap_blks_hit + heap_blks_read, n_tup_upd
        FROM pg_statio_user_tables JOIN pg_stat_user_tables USING (relid)
        WHERE pg_stat_user_tables.relname = 'lanes'";
    let rows = place.rows(counts).await;
    let count = |column| rows[0].try_get_by_index(column).expect("a count");
    (count(0), count(1))
}

/// Commits until the server has counted some of it, and gives its counts.
///
/// A connection tells what it has counted with its first commit after a second. Where somebody else holds the
/// count just then it tries again with the first after another second, and after a minute it waits.
async fn counted_beyond(place: &Place, owner: &mut Owner, versions: i64) -> (i64, i64) {
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        commits(owner, 50).await;
        let counts = counted(place).await;
        if counts.1 > versions {
            return counts;
        }
    }
    panic!("the server counts nothing beyond {versions} versions")
}

/// Commits, and gives how many pages of `lanes` each looked at.
async fn pages(place: &Place, owner: &mut Owner) -> f64 {
    let (pages_before, before) = counted_beyond(place, owner, 0).await;
    let (pages, after) = counted_beyond(place, owner, before).await;
    (pages - pages_before) as f64 / (after - before) as f64
}

/// Says a figure past the harness.
async fn say(place: &Place, when: &str, mean: Duration) {
    let versions = place.count("lanes").await;
    assert_eq!(versions, 2, "there are two lanes, however many versions of them");
    let size = place.rows("SELECT pg_relation_size('lanes')").await;
    let size: i64 = size[0].try_get_by_index(0).expect("a size");
    let mean = mean.as_micros();
    writeln!(std::io::stderr(), "{when}: {mean} µs a commit, lanes {} KiB", size / 1_024)
        .expect("there is a standard error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_takes_long_stops_no_commit() {
    let Some(place) = places::postgres().await else { return };
    let asked = std::env::var("SNAPSHOT_COMMITS").ok().filter(|text| !text.is_empty());
    let count = asked.map_or(COMMITS, |text| text.parse().expect("a number of commits"));
    let mut owner = Owner::first(&place.store).await;
    let before = commits(&mut owner, count).await;
    say(&place, "without a snapshot", before).await;

    let outside = place.outside().await;
    let backup = outside.begin().await.expect("a transaction begins");
    // As pg_dump does it: whatever is read later is as it is now.
    for sql in ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM lanes"] {
        backup.execute_unprepared(sql).await.expect("the snapshot is taken");
    }
    let held = owner.progress.batch;
    for window in 1..=WINDOWS {
        let mean = commits(&mut owner, count).await;
        say(&place, &format!("after {} commits beside it", window * count), mean).await;
    }
    assert_eq!(owner.progress.batch, held + i64::from(count * WINDOWS), "each of them counts");
    // Each version since is still there, and no commit looks at all of them.
    let pages = pages(&place, &mut owner).await;
    let versions = owner.progress.batch - held;
    writeln!(std::io::stderr(), "{pages:.1} pages a commit, {versions} versions").expect("told");
    // Some twenty-five versions fit on a page.
    let few = 10.0 + versions as f64 / 100.0;
    assert!(pages < few, "a commit looks at {pages} pages, of {versions} versions");
    // The backup sees what it saw, its lane has moved on, and whoever claims it finds all of it.
    let sees = format!("DO 'BEGIN ASSERT {held} = (SELECT batch FROM lanes WHERE lane = 0); END'");
    backup.execute_unprepared(&sees).await.expect("the snapshot is as it was");
    let claimed = Owner::of(&place.store, Lane(0)).await;
    assert_eq!(claimed.progress, owner.progress);
    let late = owner.batch();
    assert!(owner.commit(late).await.is_err(), "and fences the owner before");
    let mut owner = claimed;
    commits(&mut owner, 10).await;

    backup.rollback().await.expect("the backup ends");
    let mean = commits(&mut owner, count).await;
    say(&place, "after its end", mean).await;
    place.run("VACUUM lanes").await;
    let mean = commits(&mut owner, count).await;
    say(&place, "after the next vacuum", mean).await;
}
