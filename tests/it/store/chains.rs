//! From a user to their records: page by page, and whatever other lanes write, no further than it must.

use std::time::Duration;

use actors::capacity::RECORDS_PAGE;
use actors::chain::Chain;
use actors::lane::{Lane, UserNumber};
use actors::store::{Begin, Store};
use biometric_bridge::store::SqlStore;
use neuros::time::Timestamp;

use super::batches::{AT_HOME, Owner, record, user_row};
use super::facts;
use super::places::{self, Place};

facts!(
    many_records_come_in_order_and_never_all_at_once,
    what_is_asked_for_is_all_that_is_given,
    a_lanes_records_end_where_they_are_to_end,
);

/// So many records of a user, some of them in front of the checkpoint.
async fn history(owner: &mut Owner, count: i64, checkpoint: i64) -> UserNumber {
    let user = owner.with_user(AT_HOME).await;
    let mut number = 1;
    while number < count {
        let mut batch = owner.batch();
        for position in 0..500_i64.min(count - number) {
            number += 1;
            batch.records.push(record(user, number, i32::try_from(position).expect("few")));
        }
        if number <= checkpoint {
            batch.users.push(user_row(user, AT_HOME, number, false));
            batch.after.checkpointed = batch.after.stamp;
        }
        owner.commit(batch).await.expect("it is committed");
    }
    user
}

/// Numbers of the pages of a user's records.
async fn pages(store: &SqlStore, user: UserNumber, after: i64, upto: i64) -> Vec<Vec<i64>> {
    let mut chain = Chain::find(store, user, after, upto).await.expect("a way");
    let mut pages = Vec::new();
    while let Some(page) = chain.next(store).await.expect("a page") {
        pages.push(page.iter().map(|record| record.number).collect());
    }
    pages
}

async fn many_records_come_in_order_and_never_all_at_once(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = history(&mut owner, 3_501, 2_501).await;
    let found = pages(&place.store, user, 0, i64::MAX).await;
    assert!(found.len() >= 4 && found.iter().all(|page| page.len() <= RECORDS_PAGE));
    assert_eq!(found.concat(), (1..=3_501).collect::<Vec<i64>>());
    assert_eq!(
        pages(&place.store, user, 1_200, 2_600).await.concat(),
        Vec::from_iter(1_201..=2_600)
    );
    // What is gone in the middle ends the way; what is newer is still found.
    place.run("DELETE FROM event_records WHERE number = 700").await;
    assert_eq!(pages(&place.store, user, 0, 1_000).await.concat(), Vec::from_iter(701..=1_000));
    assert_eq!(pages(&place.store, UserNumber(99), 0, i64::MAX).await, [[0; 0]; 0]);
}

async fn what_is_asked_for_is_all_that_is_given(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = history(&mut owner, 1_501, 1_001).await;
    let back = async |begin, after| {
        let found = place.store.places_back(user, begin, after).await.expect("places");
        (found.len(), found.first().copied(), found.last().map(|last| last.number))
    };
    let (count, newest, oldest) = back(Begin::Newest { upto: i64::MAX }, 0).await;
    assert_eq!(
        (count, newest.map(|newest| newest.number), oldest),
        (1_000, Some(1_501), Some(502))
    );
    let (count, first, oldest) = back(Begin::Newest { upto: 600 }, 590).await;
    assert_eq!((count, first.map(|first| first.number), oldest), (10, Some(600), Some(591)));
    let first = first.expect("a place");
    assert_eq!(back(Begin::At(first), 0).await, (600, Some(first), Some(1)));
    assert_eq!(back(Begin::At(first), 600).await.0, 0);
    assert_eq!(back(Begin::Newest { upto: 3 }, 3).await.0, 0);
}

async fn a_lanes_records_end_where_they_are_to_end(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    owner.with_user(AT_HOME).await;
    let upto = owner.progress.stamp;
    owner.with_user("u3").await;
    let begin = (Timestamp::from_micros(0), i32::MAX);
    let found = place.store.records_of_lane(Lane(0), begin, upto, 10).await.expect("records");
    assert_eq!(found.iter().map(|record| record.place.stamp).collect::<Vec<_>>(), [upto]);
}

/// Pages of the index of records that were looked at, as far as the server has counted.
async fn index_pages(place: &Place) -> i64 {
    // A connection tells what it has counted with its first statement after a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    place.store.quarantined().await.expect("an answer");
    place.store.quarantined().await.expect("an answer");
    let counted = "SELECT sum(idx_blks_hit + idx_blks_read)::bigint FROM pg_statio_user_indexes
        WHERE relname = 'event_records'";
    place.rows(counted).await[0].try_get_by_index(0).expect("a count")
}

/// What a look for a user's newest records, and a claim's for a lane's, cost in pages of the index.
async fn cost(place: &Place, user: UserNumber, owner: &Owner) -> i64 {
    let before = index_pages(place).await;
    let (store, progress) = (&place.store, &owner.progress);
    let found = store.places_back(user, Begin::Newest { upto: i64::MAX }, 0).await;
    assert_eq!(found.expect("places").len(), 4);
    let after = (progress.checkpointed, i32::MAX);
    let found = store.records_of_lane(Lane(0), after, progress.stamp, 10).await;
    assert_eq!(found.expect("records").len(), 3);
    index_pages(place).await - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_lanes_write_later_costs_a_lane_that_stands_still_nothing() {
    let Some(place) = places::postgres().await else { return };
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user(AT_HOME).await;
    let mut batch = owner.batch();
    batch.records = (0..3).map(|at| record(user, i64::from(at) + 2, at)).collect();
    batch.after.checkpointed = owner.progress.stamp;
    owner.commit(batch).await.expect("it is committed");
    let alone = cost(&place, user, &owner).await;
    place
        .run(
            "INSERT INTO event_records SELECT time + at * interval '1 second', 1, 0, user_number, number,
                 source, log_offset, record_time, policy, engine, device_id, event_type, body
             FROM event_records, generate_series(1, 50000) AS at WHERE number = 4;
             ANALYZE event_records",
        )
        .await;
    let beside = cost(&place, user, &owner).await;
    assert!(beside <= alone + 40, "{alone} pages alone, {beside} beside 50,000 records");
}
