//! The first start and the adoption of new topics.

use actors::lane::{ClosedGeneration, Lane, Positions, Routing};
use actors::store::{CommitError, Store};
use biometric_bridge::store::{Administration, Adoption};
use neuros::time::Timestamp;

use super::batches::{LANES, Owner, START, routing};
use super::facts;
use super::places::Place;

facts!(
    a_store_begins_once,
    processes_that_begin_together_agree,
    an_adoption_begins_a_generation_and_keeps_the_one_before,
    an_adoption_with_fewer_lanes_writes_down_what_nobody_will_apply,
    an_adoption_is_a_first_start_where_nothing_was,
    positions_of_every_lane_are_needed,
);

fn adoption(partitions: i32) -> Adoption {
    let lane = |lane| (Lane(lane), Positions { events: 100 + i64::from(lane), by_user: 200 });
    Adoption {
        routing: Routing { partition_count: partitions, log_id: None, ..routing() },
        positions: (0..partitions).map(lane).collect(),
        reason: "the topics were made anew".to_owned(),
        at: Timestamp::from_micros(START),
    }
}

async fn a_store_begins_once(place: Place) {
    let store = &place.store;
    assert_eq!(store.begin(&routing(), &LANES).await.expect("it begins"), routing());
    let other = Routing { bytes_max: 1, ..routing() };
    assert_eq!(store.begin(&other, &LANES).await.expect("it has begun"), routing());
    assert_eq!(store.routing().await.expect("an answer"), Some(routing()));
    let positions: Vec<Positions> =
        store.lanes().await.expect("lanes").iter().map(|lane| lane.progress.positions).collect();
    assert_eq!(positions, [LANES[0].1, LANES[1].1]);
}

async fn processes_that_begin_together_agree(place: Place) {
    let mut tasks = Vec::new();
    for number in 0..8 {
        let store = place.store.clone();
        tasks.push(tokio::spawn(async move {
            let mine = Routing { bytes_max: number, ..routing() };
            let agreed = store.begin(&mine, &LANES).await.expect("it begins");
            (agreed, store.lanes().await.expect("lanes").len())
        }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.expect("it ends"));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    assert_eq!(seen[0].1, 2);
}

async fn an_adoption_begins_a_generation_and_keeps_the_one_before(place: Place) {
    let store = &place.store;
    let mut origin = Owner::first(store).await;
    let mut batch = origin.batch();
    batch.after.forwarded = [(1, 12)].into();
    origin.commit(batch).await.expect("it is committed");
    let mut home = Owner::of(store, Lane(1)).await;
    let mut batch = home.batch();
    batch.after.marks = [(0, 9)].into();
    home.commit(batch).await.expect("it is committed");

    let next = store.adopt(&adoption(3)).await.expect("it is adopted");
    assert_eq!((next.generation, next.partition_count), (2, 3));
    assert_eq!(store.routing().await.expect("an answer"), Some(next.clone()));
    let refused = home.commit(home.batch()).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    let claim = store.claim(Lane(1), "it", &next).await.expect("the lane is free");
    assert_eq!(claim.progress.positions, Positions { events: 101, by_user: 200 });
    assert_eq!((claim.progress.marks.len(), claim.progress.batch), (0, 1));
    let closed = ClosedGeneration { generation: 1, marks: [(0, 9)].into(), last: [(0, 12)].into() };
    assert_eq!(claim.progress.closed, Some(closed));
    let origin = store.claim(Lane(0), "it", &next).await.expect("the lane is free");
    assert!(origin.progress.forwarded.is_empty());
    let new = store.claim(Lane(2), "it", &next).await.expect("the new lane is free");
    assert_eq!((new.progress.positions.events, new.progress.closed), (102, None));
    assert_eq!(place.count("closed_generations WHERE generation = 1").await, 2);
    let gap = "lane_gaps WHERE lane = 1 AND source = 0 AND generation = 1 AND from_offset = 17 \
               AND to_offset = 101 AND reason = 'the topics were made anew'";
    assert_eq!(place.count(gap).await, 1);
    assert_eq!(place.count("lane_gaps").await, 4);

    store.adopt(&adoption(3)).await.expect("it is adopted again");
    let lost = "lane_gaps WHERE lane = 1 AND source = 1 AND generation = 1 AND from_offset = 10 \
                AND to_offset = 13 AND reason LIKE '%not applied%'";
    assert_eq!(place.count(lost).await, 1, "what two generations could not apply is written down");
}

async fn an_adoption_with_fewer_lanes_writes_down_what_nobody_will_apply(place: Place) {
    let mut origin = Owner::first(&place.store).await;
    let mut batch = origin.batch();
    batch.after.forwarded = [(1, 12)].into();
    origin.commit(batch).await.expect("it is committed");
    let next = place.store.adopt(&adoption(1)).await.expect("it is adopted");
    let lost = "lane_gaps WHERE lane = 1 AND from_offset = 0 AND to_offset = 13";
    assert_eq!(place.count(lost).await, 1);
    place.store.claim(Lane(1), "it", &next).await.expect_err("the lane is gone");
}

async fn an_adoption_is_a_first_start_where_nothing_was(place: Place) {
    let first = place.store.adopt(&adoption(2)).await.expect("it begins");
    assert_eq!(first.generation, 1);
    assert_eq!(place.store.routing().await.expect("an answer"), Some(first));
    assert_eq!(place.count("lanes").await, 2);
    assert_eq!(place.count("lane_gaps").await, 0);
}

async fn positions_of_every_lane_are_needed(place: Place) {
    place.store.begin(&routing(), &LANES[..1]).await.expect_err("a lane is missing");
    let mut wrong = adoption(2);
    wrong.positions[1].0 = Lane(2);
    place.store.adopt(&wrong).await.expect_err("a lane is missing");
    assert_eq!(place.store.routing().await.expect("an answer"), None);
}
