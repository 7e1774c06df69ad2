//! The schema: up, down, and what an older program says to a newer one.

use actors::lane::Lane;
use actors::store::{Begin, CommitError, Store as _, StoreError};
use biometric_bridge::store::{Administration as _, Options, open};
use neuros::time::Timestamp;
use std::time::Duration;

use super::batches::{AT_HOME, Owner, START, record, routing, user_row};
use super::facts;
use super::places::{self, Place};

facts!(
    the_schema_goes_up_and_down_and_up,
    records_from_before_lead_to_each_other,
    who_owned_a_lane_before_a_change_is_fenced,
    a_process_that_runs_takes_no_lane_of_a_newer_schema,
    an_empty_database_is_older_than_the_program,
    a_newer_schema_is_refused,
    processes_that_migrate_together_take_turns,
);

async fn the_schema_goes_up_and_down_and_up(place: Place) {
    let store = &place.store;
    let up = store.schema_status().await.expect("a status");
    assert!(up.pending.is_empty() && up.unknown.is_empty() && up.applied.len() >= 8, "{up:?}");
    up.check().expect("they fit");
    let all = up.applied.len() as u32;
    let down = store.migrate_down(1).await.expect("one step down");
    assert_eq!((down.pending.len(), down.applied.len()), (1, up.applied.len() - 1));
    let down = store.migrate_down(all).await.expect("all the way down");
    assert_eq!((down.applied.len(), down.pending.len()), (0, up.applied.len()));
    let left = if place.is_postgres() {
        "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = 'public' \
         AND relkind IN ('r', 'v') AND relname <> 'seaql_migrations'"
    } else {
        "sqlite_master WHERE type IN ('table', 'view') AND name <> 'seaql_migrations' \
         AND name NOT LIKE 'sqlite%'"
    };
    assert_eq!(place.count(left).await, 0);
    assert_eq!(store.migrate_up().await.expect("up again"), up);
    assert_eq!(store.migrate_up().await.expect("nothing to do"), up);
}

async fn records_from_before_lead_to_each_other(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user(AT_HOME).await;
    let mut batch = owner.batch();
    batch.records = (0..5).map(|at| record(user, i64::from(at) + 2, at)).collect();
    batch.users.push(user_row(user, AT_HOME, 6, false));
    batch.after.checkpointed = batch.after.stamp;
    owner.commit(batch).await.expect("it is committed");
    let newest = Begin::Newest { upto: i64::MAX };
    let before = store.places_back(user, newest, 0).await.expect("places");
    assert_eq!(before.len(), 6);
    let chain = "m0011_chain";
    let mut status = store.schema_status().await.expect("a status");
    while status.applied.iter().any(|name| name == chain) {
        status = store.migrate_down(1).await.expect("a step down");
    }
    store.migrate_up().await.expect("up again");
    assert_eq!(store.places_back(user, newest, 0).await.expect("places"), before);
}

async fn who_owned_a_lane_before_a_change_is_fenced(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    store.migrate_up().await.expect("nothing to do");
    let batch = owner.batch();
    owner.commit(batch).await.expect("nothing has changed");
    store.migrate_down(1).await.expect("a step down");
    store.migrate_up().await.expect("up again");
    let batch = owner.batch();
    let fenced = owner.commit(batch).await.expect_err("the schema has changed");
    assert!(matches!(fenced, CommitError::Fenced), "{fenced:?}");
    let mut owner = Owner::of(store, Lane(0)).await;
    let batch = owner.batch();
    owner.commit(batch).await.expect("claimed anew");
}

async fn a_process_that_runs_takes_no_lane_of_a_newer_schema(place: Place) {
    let store = &place.store;
    Owner::first(store).await;
    place.run("INSERT INTO seaql_migrations VALUES ('m9999_from_the_future', 0)").await;
    let refused = store.claim(Lane(0), "it", &routing()).await.expect_err("it is newer");
    assert!(
        matches!(&refused, StoreError::Outdated(text) if text.contains("m9999")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_linked_only_when_no_instance_runs() {
    let Some(place) = places::postgres().await else { return };
    let store = &place.store;
    Owner::first(store).await;
    let mut status = store.schema_status().await.expect("a status");
    while status.applied.iter().any(|name| name == "m0011_chain") {
        status = store.migrate_down(1).await.expect("a step down");
    }
    let instance = open(&place.url, &Options::default()).await.expect("the store opens");
    instance.ping().await.expect("an instance is connected");
    let refused = store.migrate_up().await.expect_err("an instance runs");
    assert!(refused.to_string().contains("stop all of them"), "{refused}");
    assert_eq!(store.schema_status().await.expect("a status"), status, "nothing was changed");
    instance.close().await;
    store.migrate_up().await.expect("nobody is there").check().expect("they fit");
}

async fn an_empty_database_is_older_than_the_program(place: Place) {
    let all = place.store.schema_status().await.expect("a status").applied.len() as u32;
    place.store.migrate_down(all).await.expect("all the way down");
    place.run("DROP TABLE seaql_migrations").await;
    let status = place.store.schema_status().await.expect("a status");
    assert_eq!(status.pending.len(), all as usize);
    let refused = status.check().expect_err("it is older");
    assert!(refused.to_string().contains("migrate up"), "{refused}");
}

async fn a_newer_schema_is_refused(place: Place) {
    place.run("INSERT INTO seaql_migrations VALUES ('m9999_from_the_future', 0)").await;
    let status = place.store.schema_status().await.expect("a status");
    assert_eq!(status.unknown, ["m9999_from_the_future"]);
    for refused in [status.check(), place.store.migrate_up().await.map(|_| ())] {
        let refused = refused.expect_err("it is newer");
        assert!(matches!(&refused, StoreError::Refused(text) if text.contains("newer schema")));
    }
    place.store.migrate_down(1).await.expect_err("not even down");
}

async fn processes_that_migrate_together_take_turns(place: Place) {
    let all = place.store.schema_status().await.expect("a status").applied.len() as u32;
    place.store.migrate_down(all).await.expect("all the way down");
    if !place.is_postgres() {
        place.store.migrate_up().await.expect("SQLite is one process's");
        return;
    }
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let url = place.url.clone();
        tasks.push(tokio::spawn(async move {
            open(&url, &Options::default()).await.expect("it opens").migrate_up().await
        }));
    }
    for task in tasks {
        task.await.expect("it ends").expect("the schema is up").check().expect("they fit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_timescaledb_nothing_is_compressed_and_there_are_no_chunks() {
    let mut places = vec![places::sqlite().await];
    places.extend(places::postgres().await);
    for place in places {
        let day = Duration::from_secs(86_400);
        assert!(!place.store.compress_after(Some(day)).await.expect("an answer"));
        let chunks = place.store.chunks(Timestamp::from_micros(START)).await;
        assert_eq!(chunks.expect("an answer"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timescaledb_compresses_by_a_policy_and_drops_chunks_when_told() {
    let Some(place) = places::timescale().await else { return };
    let hypertable = "timescaledb_information.hypertables WHERE hypertable_name = 'event_records'";
    assert_eq!(place.count(hypertable).await, 1);
    let day = Duration::from_secs(86_400);
    place.run("SELECT add_retention_policy('event_records', INTERVAL '30 days')").await;
    for (age, jobs) in [(Some(day * 7), 1), (Some(day), 1), (None, 0)] {
        assert!(place.store.compress_after(age).await.expect("an answer"));
        let set = "timescaledb_information.jobs WHERE hypertable_name = 'event_records'";
        assert_eq!(place.count(set).await, jobs);
    }
    let mut owner = Owner::first(&place.store).await;
    owner.with_user("u1").await;
    let later = Timestamp::from_micros(START + 2 * 86_400_000_000);
    let chunks = place.store.chunks(later).await.expect("an answer").expect("there are chunks");
    let [chunk] = chunks[..] else { panic!("one day of records is one chunk") };
    assert!(chunk.from.as_micros() <= START && START < chunk.to.as_micros());
    place.store.drop_chunk(chunk).await.expect("it is dropped");
    assert_eq!(place.count("event_records").await, 0);
    assert_eq!(place.store.chunks(later).await.expect("an answer"), Some(Vec::new()));
}
