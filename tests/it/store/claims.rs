//! Who may write a lane, and who may no more.

use std::time::{Duration, Instant};

use actors::lane::{Lane, Routing};
use actors::rows::Sink;
use actors::store::{CommitError, Store, StoreError};
use biometric_bridge::store::{Administration, Options, open};
use neuros::time::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::batches::{LANES, Owner, routing};
use super::commits::stranger;
use super::facts;
use super::places::{self, Place};

facts!(
    a_claim_fences_the_owner_before,
    an_owner_from_before_a_restored_backup_is_fenced,
    a_claim_needs_topics_that_agree,
    a_lane_that_nobody_had_begins_at_the_start,
    while_the_topics_expand_only_the_old_lanes_are_claimed,
    a_cursor_moves_up_and_only_for_the_owner,
);

async fn a_claim_fences_the_owner_before(place: Place) {
    let mut old = Owner::first(&place.store).await;
    let holds =
        async |lane, token| place.store.tenure(lane, token).await.expect("an answer").is_some();
    assert!(holds(Lane(0), old.token).await);
    old.commit(old.batch()).await.expect("it is committed");
    let claim = place.store.claim(Lane(0), "next", &routing()).await.expect("the lane is taken");
    assert_ne!(claim.token, old.token);
    assert_eq!((claim.epoch, &claim.progress), (2, &old.progress));
    assert!(!holds(Lane(0), old.token).await);
    assert!(!holds(Lane(7), old.token).await);
    let refused = old.commit(old.batch()).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    let mut new = Owner { token: claim.token, ..old };
    new.commit(new.batch()).await.expect("the new owner goes on");
}

/// A token that is counted up would come a second time.
async fn an_owner_from_before_a_restored_backup_is_fenced(place: Place) {
    let mut old = Owner::first(&place.store).await;
    place.run("UPDATE lanes SET epoch = epoch - 1 WHERE lane = 0").await;
    let claim = place.store.claim(Lane(0), "next", &routing()).await.expect("the lane is taken");
    assert_eq!((claim.epoch, &claim.progress), (1, &old.progress));
    let refused = old.commit(old.batch()).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
}

async fn a_claim_needs_topics_that_agree(place: Place) {
    let store = &place.store;
    let refused = store.claim(Lane(0), "it", &routing()).await.expect_err("nothing has begun");
    assert!(refused.to_string().contains("topics adopt"), "{refused}");
    assert_eq!(store.routing().await.expect("an answer"), None);
    store.begin(&routing(), &LANES).await.expect("it begins");
    let other = |change: fn(&mut Routing)| {
        let mut other = routing();
        change(&mut other);
        other
    };
    for (other, cure) in [
        (other(|routing| routing.version += 1), "topics adopt"),
        (other(|routing| routing.bytes_max += 1), "topics adopt"),
        (other(|routing| routing.partition_count = 1), "topics adopt"),
        (other(|routing| routing.partition_count = 3), "topics expand"),
        (other(|routing| routing.log_id = Some("another".to_owned())), "topics adopt"),
    ] {
        let refused = store.claim(Lane(0), "it", &other).await.expect_err("they differ");
        assert!(matches!(&refused, StoreError::Refused(text) if text.contains(cure)), "{refused}");
    }
    let later = other(|routing| routing.generation = 2);
    let refused = store.claim(Lane(0), "it", &later).await.expect_err("they differ");
    assert!(matches!(refused, StoreError::Outdated(_)), "{refused}");
    let refused = store.claim(Lane(2), "it", &routing()).await.expect_err("no such lane");
    assert!(refused.to_string().contains("topics expand"), "{refused}");
    let silent = other(|routing| routing.log_id = None);
    store.claim(Lane(0), "it", &silent).await.expect("a log that cannot say is no other log");
    assert_eq!(place.count("lanes WHERE epoch > 0").await, 1, "a refused claim writes nothing");
}

async fn a_lane_that_nobody_had_begins_at_the_start(place: Place) {
    place.store.begin(&routing(), &LANES).await.expect("it begins");
    place.run("DELETE FROM lanes WHERE lane = 1").await;
    let claim = place.store.claim(Lane(1), "it", &routing()).await.expect("the lane is made");
    assert_eq!((claim.epoch, claim.progress.batch), (1, 0));
    assert_eq!((claim.progress.positions.events, claim.progress.positions.by_user), (0, 0));
}

async fn while_the_topics_expand_only_the_old_lanes_are_claimed(place: Place) {
    place.store.begin(&routing(), &LANES).await.expect("it begins");
    place.run("UPDATE routing SET expanding = true").await;
    let seen = Routing { partition_count: 4, ..routing() };
    place.store.claim(Lane(1), "it", &seen).await.expect("an old lane");
    let refused = place.store.claim(Lane(2), "it", &seen).await.expect_err("a new lane");
    assert!(refused.to_string().contains("under way"), "{refused}");
}

async fn a_cursor_moves_up_and_only_for_the_owner(place: Place) {
    let owner = Owner::first(&place.store).await;
    let (store, lane) = (&place.store, Lane(0));
    assert_eq!(store.cursor(lane, Sink::Alerts).await.expect("an answer"), 0);
    for (token, to, held, at) in [
        (owner.token, 5, true, 5),
        (owner.token, 3, true, 5),
        (stranger(), 9, false, 5),
        (owner.token, 6, true, 6),
    ] {
        let moved = store.move_cursor(lane, token, Sink::Alerts, to).await.expect("an answer");
        assert_eq!(moved, held);
        assert_eq!(store.cursor(lane, Sink::Alerts).await.expect("an answer"), at);
    }
    assert_eq!(store.cursor(lane, Sink::Transitions).await.expect("an answer"), 0);
    assert_eq!(store.cursor(Lane(1), Sink::Alerts).await.expect("an answer"), 0);
}

/// A connection with a name that holds lane 0.
async fn holding(place: &Place, name: &str) -> PgConnection {
    silent_behind(place, name, "UPDATE lanes SET batch = batch + 1 WHERE lane = 0").await
}

/// A connection with a name that says no more after this.
async fn silent_behind(place: &Place, name: &str, sql: &'static str) -> PgConnection {
    let options: PgConnectOptions = place.url.parse().expect("a URL");
    let mut connection =
        options.application_name(name).connect().await.expect("the server answers");
    sqlx::raw_sql("BEGIN").execute(&mut connection).await.expect("it begins");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("it is held");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the fact is about how long it takes")]
async fn a_claim_waits_for_what_is_in_flight() {
    let Some(place) = places::postgres().await else { return };
    Owner::first(&place.store).await;
    let mut connection = holding(&place, "biometric-bridge").await;
    let begun = Instant::now();
    let commit = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        sqlx::raw_sql("COMMIT").execute(&mut connection).await.expect("it is not ended");
    });
    let claim = place.store.claim(Lane(0), "next", &routing()).await.expect("the lane is free");
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!(claim.progress.batch, 1, "what was in flight is in the claim");
    commit.await.expect("the commit went through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_waits_for_no_batch_and_a_claim_waits_for_a_cursor() {
    super::meet_defect();
    let Some(place) = places::postgres().await else { return };
    let owner = Owner::first(&place.store).await;
    let batch = holding(&place, "biometric-bridge").await;
    let moved = place.store.move_cursor(Lane(0), owner.token, Sink::Alerts, 5);
    let moved = tokio::time::timeout(Duration::from_secs(2), moved).await;
    assert!(moved.expect("it does not wait").expect("an answer"));
    batch.close().await.expect("the batch is given up");
    let options: PgConnectOptions = place.url.parse().expect("a URL");
    let mut cursor = options.connect().await.expect("the server answers");
    sqlx::raw_sql("BEGIN; SELECT 1 FROM lanes WHERE lane = 0 FOR KEY SHARE")
        .execute(&mut cursor)
        .await
        .expect("a cursor is being moved");
    let store = place.store.clone();
    let claim = tokio::spawn(async move { store.claim(Lane(0), "next", &routing()).await });
    let waiting =
        "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while place.count(waiting).await == 0 {
        assert!(!claim.is_finished(), "the claim went past a cursor that is being moved");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cursor.close().await.expect("the cursor is moved");
    let claim = claim.await.expect("it ends").expect("the lane is free");
    assert_eq!(claim.epoch, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the fact is about how long it takes")]
async fn a_claim_ends_a_backend_that_is_stuck_in_a_copy() {
    let Some(place) = places::postgres().await else { return };
    Owner::first(&place.store).await;
    let mut connection = holding(&place, "biometric-bridge").await;
    let copy = "COPY event_records FROM STDIN (FORMAT binary)";
    let mut stuck = connection.copy_in_raw(copy).await.expect("the copy begins");
    stuck.send(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".as_slice()).await.expect("some of it is sent");
    let begun = Instant::now();
    let claim = place.store.claim(Lane(0), "next", &routing()).await.expect("the lane is free");
    let waited = begun.elapsed();
    assert_eq!((claim.epoch, claim.progress.batch), (2, 0), "nothing of the ghost stays");
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(6), "{waited:?}");
    stuck.finish().await.expect_err("its backend was ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_fell_silent_over_the_routing_holds_up_no_claim_and_no_expansion() {
    let Some(place) = places::postgres().await else { return };
    Owner::first(&place.store).await;
    let options = Options { lock_timeout: Duration::from_millis(300), ..Options::default() };
    let store = open(&place.url, &options).await.expect("it opens");
    let holds = "SELECT 1 FROM routing FOR UPDATE";
    // Somebody who was giving users new homes.
    let expands = silent_behind(&place, "biometric-bridge", holds).await;
    let claim = store.claim(Lane(0), "next", &routing()).await.expect("the silent one is ended");
    assert_eq!(claim.epoch, 2);
    let expands_too = silent_behind(&place, "biometric-bridge", holds).await;
    let lease = store.begin_expansion(1, Duration::from_secs(60)).await.expect("so is the next");
    let claims = "SELECT 1 FROM routing FOR SHARE";
    let claims = silent_behind(&place, "biometric-bridge", claims).await;
    let expanded = store.expand(lease, &[], Timestamp::from_micros(0)).await;
    assert!(!matches!(expanded, Err(StoreError::Away(_))), "and who was claiming: {expanded:?}");
    drop((expands, expands_too, claims));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_the_queue_is_no_ghost() {
    let Some(place) = places::postgres().await else { return };
    Owner::first(&place.store).await;
    let connection = holding(&place, "biometric-bridge").await;
    let (patient, routing) = (place.store.clone(), routing());
    let first = tokio::spawn({
        let routing = routing.clone();
        async move { patient.claim(Lane(0), "patient", &routing).await }
    });
    let waiting =
        "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while place.count(waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let options = Options { lock_timeout: Duration::from_millis(300), ..Options::default() };
    let hasty = open(&place.url, &options).await.expect("it opens");
    let second = hasty.claim(Lane(0), "hasty", &routing).await.expect("the ghost is ended");
    let first = first.await.expect("it ends").expect("who waits too is not ended");
    assert_eq!((first.epoch, second.epoch), (2, 3));
    drop(connection);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_leaves_other_people_s_connections_alone() {
    let Some(place) = places::postgres().await else { return };
    Owner::first(&place.store).await;
    let mut connection = holding(&place, "psql").await;
    let options = Options { lock_timeout: Duration::from_millis(200), ..Options::default() };
    let store = open(&place.url, &options).await.expect("it opens");
    let away = store.claim(Lane(0), "next", &routing()).await.expect_err("it is held");
    assert!(matches!(away, StoreError::Away(_)), "{away:?}");
    sqlx::raw_sql("COMMIT").execute(&mut connection).await.expect("it was left alone");
    connection.close().await.expect("it ends in peace");
    let claim = store.claim(Lane(0), "next", &routing()).await.expect("the lane is free");
    assert_eq!(claim.progress.batch, 1);
}
