//! More partitions: what keeps users from new homes, and the transaction in which they find them.

use actors::expansion::Blocker;
use actors::lane::{Lane, Positions, Routing, Source};
use actors::rows::{DeadLetterRow, OutboxRow, Sink};
use actors::seal::Sealed;
use actors::store::{CommitError, Store, StoreError, Tenure};
use biometric_bridge::store::{Administration, Adoption, Expanded};
use neuros::time::Timestamp;

use super::batches::{LANES, Owner, START, routing};
use super::facts;
use super::places::Place;

facts!(
    lanes_at_rest_go_on_among_more,
    lanes_that_are_added_wait_and_old_processes_learn_of_it,
    owners_learn_where_to_stop,
    whatever_is_not_finished_is_in_the_way,
    a_command_for_a_home_that_is_over_is_not_taken,
    lanes_that_an_adoption_left_behind_are_not_waited_for,
);

const ADDED: [(Lane, Positions); 1] = [(Lane(2), Positions { events: 1, by_user: 2 })];

fn at() -> Timestamp {
    Timestamp::from_micros(START)
}

/// Tells both lanes to stop where they are.
async fn stop_here(place: &Place) {
    let lanes = place.store.lanes().await.expect("lanes");
    let stops: Vec<(Lane, Option<Positions>)> =
        lanes.iter().map(|row| (row.lane, Some(row.progress.positions))).collect();
    place.store.set_stops(&stops).await.expect("they are told");
}

async fn lanes_at_rest_go_on_among_more(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    owner.commit(owner.batch()).await.expect("it is committed");
    assert!(store.begin_expansion().await.expect("it begins").expanding);
    stop_here(&place).await;
    assert_eq!(store.blockers().await.expect("an answer"), []);
    let done = store.expand(&ADDED, at()).await.expect("an answer");
    let Expanded::Done(next) = done else { panic!("{done:?}") };
    assert_eq!(next, Routing { generation: 2, partition_count: 3, ..routing() });
    assert_eq!(store.routing().await.expect("an answer"), Some(next.clone()));
    let refused = owner.commit(owner.batch()).await;
    assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    let positions: Vec<Positions> =
        store.lanes().await.expect("lanes").iter().map(|lane| lane.progress.positions).collect();
    assert_eq!(positions, [owner.progress.positions, LANES[1].1, ADDED[0].1]);
    assert_eq!(place.count("lane_gaps").await, 0);
    assert_eq!(place.count("closed_generations").await, 2);
    let claim = store.claim(Lane(2), "it", &next).await.expect("the new lane is free");
    assert_eq!(store.tenure(Lane(2), claim.token).await.expect("it"), Some(Tenure::default()));
    assert_eq!(store.blockers().await.expect("an answer")[0], Blocker::NoStop(Lane(0)));
}

async fn lanes_that_are_added_wait_and_old_processes_learn_of_it(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    store.begin_expansion().await.expect("it begins");
    let early = store.claim(Lane(2), "it", &routing()).await;
    assert!(matches!(early, Err(StoreError::NotYet(_))), "{early:?}");
    store.claim(Lane(1), "it", &routing()).await.expect("an old lane is free");
    stop_here(&place).await;
    let done = store.expand(&ADDED, at()).await.expect("an answer");
    assert!(matches!(done, Expanded::Done(_)), "{done:?}");
    for lane in [Lane(1), Lane(2)] {
        let late = store.claim(lane, "it", &routing()).await;
        assert!(matches!(late, Err(StoreError::Outdated(_))), "{late:?}");
    }
}

async fn owners_learn_where_to_stop(place: Place) {
    let store = &place.store;
    let owner = Owner::first(store).await;
    let tenure = async || store.tenure(Lane(0), owner.token).await.expect("an answer");
    assert_eq!(tenure().await, Some(Tenure { events_stop: None }));
    let stops = Positions { events: 9, by_user: 4 };
    store.set_stops(&[(Lane(0), Some(stops))]).await.expect("it is told");
    assert_eq!(tenure().await, Some(Tenure { events_stop: Some(9) }));
    store.stop_at(Lane(0), Source::Events, 8).await.expect("it is told");
    assert_eq!(tenure().await, Some(Tenure { events_stop: Some(8) }));
    store.set_stops(&[(Lane(0), None)]).await.expect("it is told");
    // Whoever was told to read on is not told to stop by somebody who comes late.
    store.stop_at(Lane(0), Source::Events, 8).await.expect("it is told");
    assert_eq!(tenure().await, Some(Tenure { events_stop: None }));
}

async fn whatever_is_not_finished_is_in_the_way(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user("anna").await;
    let mut batch = owner.batch();
    batch.after.forwarded = [(1, 12)].into();
    batch.after.outbox += 1;
    let number = batch.after.outbox;
    batch.outbox =
        vec![OutboxRow { number, sink: Sink::DeadLetters, user: None, n: None, body: None }];
    batch.dead_letters = vec![DeadLetterRow {
        outbox: number,
        source: Source::Events,
        offset: 3,
        record_time: None,
        reason: "quarantined",
        detail: "it waits".to_owned(),
        user: Some(user),
        body: Sealed(b"sealed".to_vec()),
    }];
    owner.commit(batch).await.expect("it is committed");
    stop_here(&place).await;
    let row = owner.progress.positions;
    let further = Positions { events: row.events + 1, ..row };
    store.set_stops(&[(Lane(0), Some(further))]).await.expect("it is told");
    place
        .run(
            "INSERT INTO lane_commands (lane, kind, requested_by, requested_at)
             VALUES (1, 'discard', 'somebody', '2025-03-03T08:00:00Z')",
        )
        .await;
    let (origin, home) = (Lane(0), Lane(1));
    let expected = [
        Blocker::Unread {
            lane: Lane(0),
            source: Source::Events,
            at: row.events,
            stop: further.events,
        },
        Blocker::Forwarded { origin, home, mark: -1, last: 12 },
        Blocker::Unwritten(Lane(0)),
        Blocker::Unpublished(Lane(0), Sink::DeadLetters),
        Blocker::Letters(Lane(0), 1),
        Blocker::Commands(Lane(1), 1),
    ];
    assert_eq!(store.blockers().await.expect("an answer"), expected);
    let tried = store.expand(&ADDED, at()).await.expect("an answer");
    let Expanded::Blocked(blockers) = tried else { panic!("{tried:?}") };
    assert_eq!(blockers, expected);
    // Nothing has changed.
    assert_eq!(store.routing().await.expect("an answer"), Some(routing()));
    owner.commit(owner.batch()).await.expect("the lane is still mine");
}

async fn lanes_that_an_adoption_left_behind_are_not_waited_for(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    let fewer = Adoption {
        routing: Routing { partition_count: 1, ..routing() },
        positions: vec![LANES[0]],
        reason: "made anew".to_owned(),
        at: at(),
    };
    store.adopt(&fewer).await.expect("it is adopted");
    store.set_stops(&[(Lane(0), Some(LANES[0].1))]).await.expect("it is told");
    assert_eq!(store.blockers().await.expect("an answer"), []);
    let done = store.expand(&[LANES[1]], at()).await.expect("an answer");
    let Expanded::Done(next) = done else { panic!("{done:?}") };
    assert_eq!((next.generation, next.partition_count), (3, 2));
}

async fn a_command_for_a_home_that_is_over_is_not_taken(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    let seal = biometric_bridge::seal::AesGcm::new().expect("there is randomness");
    let key = actors::seal::DataKey::new([7; 32], 1);
    let order = actors::command::Order::Release { user_id: "anna".to_owned() };
    let ask = async || store.ask((Lane(0), 1), &order, (&seal, &key), "somebody", at()).await;
    stop_here(&place).await;
    assert!(matches!(store.expand(&ADDED, at()).await, Ok(Expanded::Done(_))));
    let late = ask().await;
    assert!(matches!(late, Err(StoreError::Outdated(_))), "{late:?}");
    assert_eq!(place.count("lane_commands").await, 0);
}
