//! More partitions: what keeps users from new homes, and the transaction in which they find them.

use std::time::Duration;

use actors::expansion::Blocker;
use actors::lane::{Lane, Positions, Routing, Source};
use actors::rows::{DeadLetterRow, OutboxRow, Sink};
use actors::seal::Sealed;
use actors::store::{CommitError, Store, StoreError};
use biometric_bridge::store::{Administration, Adoption, Expanded, Lease, Options, SqlStore, open};
use neuros::time::Timestamp;

use super::batches::{LANES, Owner, START, mail, record, routing};
use super::facts;
use super::places::Place;

facts!(
    lanes_at_rest_go_on_among_more,
    lanes_that_are_added_wait_and_old_processes_learn_of_it,
    owners_learn_where_to_stop,
    stops_last_no_longer_than_the_lease,
    one_expansion_is_under_way_at_once,
    an_adoption_ends_an_expansion,
    a_mark_that_retention_has_passed_is_settled,
    a_gap_is_skipped_by_the_lane_s_owner_only,
    users_in_no_checkpoint_are_named,
    whatever_is_not_finished_is_in_the_way,
    the_peer_is_waited_for_where_there_is_one,
    a_command_for_a_home_that_is_over_is_not_taken,
    lanes_that_an_adoption_left_behind_are_not_waited_for,
);

const ADDED: [(Lane, Positions); 1] = [(Lane(2), Positions { events: 1, by_user: 2 })];

fn at() -> Timestamp {
    Timestamp::from_micros(START)
}

const MINUTE: Duration = Duration::from_secs(60);

/// Begins, and tells all lanes to stop where they are.
async fn begin(place: &Place) -> Lease {
    let generation = place.store.routing().await.expect("an answer").expect("it is known");
    let lease = place.store.begin_expansion(generation.generation, MINUTE).await;
    let lease = lease.expect("it begins");
    let lanes = place.store.lanes().await.expect("lanes");
    let stops: Vec<(Lane, Positions)> =
        lanes.iter().map(|row| (row.lane, row.progress.positions)).collect();
    place.store.set_stops(lease, &stops).await.expect("they are told");
    lease
}

/// As if the lease had not been renewed.
async fn run_out(place: &Place) {
    place.run("UPDATE routing SET expansion_until = '2025-03-03T08:00:00.000000+00:00'").await;
}

async fn lanes_at_rest_go_on_among_more(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    owner.commit(owner.batch()).await.expect("it is committed");
    let lease = begin(&place).await;
    assert_eq!(store.routing().await.expect("an answer").map(|known| known.expanding), Some(true));
    assert_eq!(store.blockers().await.expect("an answer"), []);
    let done = store.expand(lease, &ADDED, at()).await.expect("an answer");
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
    let tenure = store.tenure(Lane(2), claim.token).await.expect("an answer");
    assert_eq!(tenure.map(|tenure| tenure.events_stop), Some(None));
    assert_eq!(store.blockers().await.expect("an answer")[0], Blocker::NoStop(Lane(0)));
}

async fn lanes_that_are_added_wait_and_old_processes_learn_of_it(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    let lease = begin(&place).await;
    let early = store.claim(Lane(2), "it", &routing()).await;
    assert!(matches!(early, Err(StoreError::NotYet(_))), "{early:?}");
    store.claim(Lane(1), "it", &routing()).await.expect("an old lane is free");
    let done = store.expand(lease, &ADDED, at()).await.expect("an answer");
    assert!(matches!(done, Expanded::Done(_)), "{done:?}");
    for lane in [Lane(1), Lane(2)] {
        let late = store.claim(lane, "it", &routing()).await;
        assert!(matches!(late, Err(StoreError::Outdated(_))), "{late:?}");
    }
}

async fn owners_learn_where_to_stop(place: Place) {
    let store = &place.store;
    let owner = Owner::first(store).await;
    let tenure = async || {
        let tenure = store.tenure(Lane(0), owner.token).await.expect("an answer");
        tenure.map(|tenure| tenure.events_stop)
    };
    assert_eq!(tenure().await, Some(None));
    let lease = store.begin_expansion(1, MINUTE).await.expect("it begins");
    let stops = [(Lane(0), Positions { events: 9, by_user: 4 })];
    store.set_stops(lease, &stops).await.expect("it is told");
    assert_eq!(tenure().await, Some(Some(9)));
    store.stop_at(lease, Lane(0), Source::Events, 8).await.expect("it is told");
    assert_eq!(tenure().await, Some(Some(8)));
    store.end_expansion(lease).await.expect("it ends");
    // Whoever was told to read on is not told to stop by somebody who comes late.
    let late = store.stop_at(lease, Lane(0), Source::Events, 8).await;
    assert!(matches!(late, Err(StoreError::NotYet(_))), "{late:?}");
    assert_eq!(tenure().await, Some(None));
}

async fn stops_last_no_longer_than_the_lease(place: Place) {
    let store = &place.store;
    let owner = Owner::first(store).await;
    let tenure = async || {
        let tenure = store.tenure(Lane(0), owner.token).await.expect("an answer");
        tenure.map(|tenure| tenure.events_stop)
    };
    let lease = begin(&place).await;
    assert_eq!(tenure().await, Some(Some(5)));
    run_out(&place).await;
    assert_eq!(tenure().await, Some(None));
    let over = [
        store.renew_expansion(lease, MINUTE).await,
        store.set_stops(lease, &LANES).await,
        store.expand(lease, &ADDED, at()).await.map(|_| ()),
    ];
    for over in over {
        assert!(
            matches!(&over, Err(StoreError::NotYet(said)) if said.contains("lease")),
            "{over:?}"
        );
    }
    assert_eq!(store.routing().await.expect("an answer").map(|known| known.generation), Some(1));
    let next = store.begin_expansion(1, MINUTE).await.expect("somebody else may");
    store.renew_expansion(next, MINUTE).await.expect("it goes on");
    assert_eq!(tenure().await, Some(None), "they are noted anew");
    assert_eq!(store.blockers().await.expect("an answer")[0], Blocker::NoStop(Lane(0)));
}

async fn one_expansion_is_under_way_at_once(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    let begin_one = || store.begin_expansion(1, MINUTE);
    let (one, other) = tokio::join!(begin_one(), begin_one());
    let (lease, refused) = match (one, other) {
        (Ok(lease), Err(refused)) | (Err(refused), Ok(lease)) => (lease, refused),
        both => panic!("{both:?}"),
    };
    let said = refused.to_string();
    assert!(
        matches!(refused, StoreError::NotYet(_)) && said.contains("under way, until 2"),
        "{said}"
    );
    store.end_expansion(lease).await.expect("it ends");
    let lease = begin(&place).await;
    assert!(matches!(store.expand(lease, &ADDED, at()).await, Ok(Expanded::Done(_))));
    let late = store.begin_expansion(1, MINUTE).await;
    assert!(matches!(late, Err(StoreError::Outdated(_))), "{late:?}");
    store.begin_expansion(2, MINUTE).await.expect("the lease has ended with the expansion");
}

fn made_anew() -> Adoption {
    let reason = "made anew".to_owned();
    Adoption { routing: routing(), positions: LANES.to_vec(), reason, at: at() }
}

async fn an_adoption_ends_an_expansion(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    let lease = begin(&place).await;
    store.adopt(&made_anew()).await.expect("it is adopted");
    let late = store.expand(lease, &ADDED, at()).await;
    assert!(matches!(late, Err(StoreError::NotYet(_))), "{late:?}");
}

async fn a_mark_that_retention_has_passed_is_settled(place: Place) {
    let store = &place.store;
    let mut origin = Owner::first(store).await;
    let mut batch = origin.batch();
    batch.after.forwarded = [(1, 12)].into();
    origin.commit(batch).await.expect("it is committed");
    let mut home = Owner::of(store, Lane(1)).await;
    let mut batch = home.batch();
    batch.after.marks = [(0, 9)].into();
    home.commit(batch).await.expect("it is committed");
    let lease = begin(&place).await;
    let (of, to) = (Lane(0), Lane(1));
    let forwarded = Blocker::Forwarded { origin: of, home: to, mark: 9, last: 12 };
    assert_eq!(store.blockers().await.expect("an answer"), std::slice::from_ref(&forwarded));
    // A mark that holds waits for its successor.
    store.settle(lease, (of, to), (12, 3)).await.expect("an answer");
    assert_eq!(store.blockers().await.expect("an answer"), [forwarded]);

    let starts = Positions { by_user: 8, ..home.progress.positions };
    assert!(store.skip_gap(to, home.token, starts, at()).await.expect("an answer"));
    let lost = Blocker::Lost { origin: of, home: to, last: 12, at: 8 };
    assert_eq!(store.blockers().await.expect("an answer"), std::slice::from_ref(&lost));
    store.settle(lease, (of, to), (12, 7)).await.expect("an answer");
    assert_eq!(store.blockers().await.expect("an answer"), [lost], "it has read on since");
    store.settle(lease, (of, to), (12, 8)).await.expect("an answer");
    assert_eq!(store.blockers().await.expect("an answer"), []);
    assert!(matches!(store.expand(lease, &ADDED, at()).await, Ok(Expanded::Done(_))));
    assert_eq!(
        place.count("lane_gaps WHERE lane = 1 AND from_offset = 3 AND to_offset = 8").await,
        1
    );
}

async fn a_gap_is_skipped_by_the_lane_s_owner_only(place: Place) {
    let store = &place.store;
    let before = Owner::first(store).await;
    let owner = Owner::of(store, Lane(0)).await;
    let starts = Positions { events: 9, by_user: 4 };
    assert!(!store.skip_gap(Lane(0), before.token, starts, at()).await.expect("an answer"));
    store.adopt(&made_anew()).await.expect("it is adopted");
    // The start was that of a log that is no more.
    assert!(!store.skip_gap(Lane(0), owner.token, starts, at()).await.expect("an answer"));
    assert_eq!(store.lanes().await.expect("lanes")[0].progress.positions, LANES[0].1);
    assert_eq!(place.count("lane_gaps").await, 0);
    let next = store.routing().await.expect("an answer").expect("it is known");
    let claim = store.claim(Lane(0), "it", &next).await.expect("the lane is free");
    assert!(store.skip_gap(Lane(0), claim.token, starts, at()).await.expect("an answer"));
    assert_eq!(store.lanes().await.expect("lanes")[0].progress.positions, starts);
    assert_eq!(place.count("lane_gaps WHERE generation = 2").await, 2);
    let again = store.skip_gap(Lane(0), claim.token, starts, at()).await.expect("an answer");
    assert!(!again, "the token has gone with it");
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
    let lease = begin(&place).await;
    let row = owner.progress.positions;
    let further = Positions { events: row.events + 1, ..row };
    store.set_stops(lease, &[(Lane(0), further)]).await.expect("it is told");
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
        Blocker::Unwritten(Lane(0), Vec::new()),
        Blocker::Unpublished(Lane(0), Sink::DeadLetters),
        Blocker::Letters(Lane(0), 1),
        Blocker::Commands(Lane(1), 1),
    ];
    assert_eq!(store.blockers().await.expect("an answer"), expected);
    let tried = store.expand(lease, &ADDED, at()).await.expect("an answer");
    let Expanded::Blocked(blockers) = tried else { panic!("{tried:?}") };
    assert_eq!(blockers, expected);
    // Nothing has changed.
    let known = store.routing().await.expect("an answer");
    assert_eq!(known, Some(Routing { expanding: true, ..routing() }));
    owner.commit(owner.batch()).await.expect("the lane is still mine");
}

async fn the_peer_is_waited_for_where_there_is_one(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("anna").await;
    let mut batch = owner.batch();
    mail(&mut batch, Sink::Alerts, user, 1);
    owner.commit(batch).await.expect("it is committed");
    begin(&place).await;
    let options = Options { sinks: Sink::ALL.to_vec(), ..Options::default() };
    let with_peer = open(&place.url, &options).await.expect("it opens");
    let waits_for = async |store: &SqlStore| {
        let found = store.blockers().await.expect("an answer");
        let sinks = found.into_iter().filter_map(|blocker| match blocker {
            Blocker::Unpublished(lane, sink) => Some((lane.0, sink)),
            _ => None,
        });
        sinks.collect::<Vec<_>>()
    };
    assert_eq!(waits_for(&with_peer).await, [(0, Sink::Alerts), (0, Sink::Peer)]);
    for (sink, left) in [(Sink::Alerts, vec![(0, Sink::Peer)]), (Sink::Peer, Vec::new())] {
        let moved = with_peer.move_cursor(owner.lane, owner.token, sink, 1).await;
        assert!(moved.expect("an answer"));
        assert_eq!(waits_for(&with_peer).await, left);
        assert_eq!(waits_for(&place.store).await, []);
    }
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
    let lease = begin(&place).await;
    assert_eq!(store.blockers().await.expect("an answer"), []);
    let done = store.expand(lease, &[LANES[1]], at()).await.expect("an answer");
    let Expanded::Done(next) = done else { panic!("{done:?}") };
    assert_eq!((next.generation, next.partition_count), (3, 2));
}

async fn a_command_for_a_home_that_is_over_is_not_taken(place: Place) {
    let store = &place.store;
    store.begin(&routing(), &LANES).await.expect("the store begins");
    let seal =
        biometric_bridge::seal::Sealer::new(Default::default()).expect("there is randomness");
    let key = actors::seal::DataKey::new(&[7; 32], 1);
    let order = actors::command::Order::Release { user_id: "anna".to_owned() };
    let ask = async || store.ask((Lane(0), 1), &order, (&seal, &key), "somebody", at()).await;
    let lease = begin(&place).await;
    assert!(matches!(store.expand(lease, &ADDED, at()).await, Ok(Expanded::Done(_))));
    let late = ask().await;
    assert!(matches!(late, Err(StoreError::Outdated(_))), "{late:?}");
    assert_eq!(place.count("lane_commands").await, 0);
}

async fn users_in_no_checkpoint_are_named(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let (anna, ben) = (owner.with_user("anna").await, owner.with_user("ben").await);
    let mut batch = owner.batch();
    batch.records = vec![record(anna, 2, 0), record(anna, 3, 1)];
    owner.commit(batch).await.expect("it is committed");
    begin(&place).await;
    let expected = [Blocker::Unwritten(Lane(0), vec![anna])];
    assert_eq!(store.blockers().await.expect("an answer"), expected, "and not {ben:?}");
}
