//! What a batch writes, and when it writes nothing.

use actors::chain::Chain;
use actors::lane::{ClosedGeneration, FenceToken, Lane, Provenance, Source, UserNumber};
use actors::rows::{Quarantine, Sink};
use actors::seal::Sealed;
use actors::store::{Asked, Begin, CommitError, Store, StoredRecord};
use biometric_bridge::store::{Administration, SqlStore};
use neuros::Mode;
use neuros::time::Timestamp;
use uuid::Uuid;

use super::batches::{
    AT_HOME, Owner, START, alert, dead_letter, mail, record, transition, user_row,
};
use super::facts;
use super::places::Place;

facts!(
    everything_of_a_batch_comes_back,
    a_lane_comes_back_as_it_was_written,
    records_come_back_in_order_a_page_at_a_time,
    a_users_records_are_found_behind_and_before_the_checkpoint,
    whatever_goes_in_comes_out,
    a_checkpoint_replaces_an_older_one_only,
    a_new_checkpoint_is_optional,
    a_deleted_checkpoint_may_be_written_again,
    a_rebuilt_state_replaces_one_after_the_same_record,
    a_user_goes_into_quarantine_once,
    instants_that_no_calendar_has_do_not_stop_a_lane,
    a_caller_that_goes_away_stops_nothing,
    a_batch_of_thousands_is_one_batch,
    a_lanes_row_that_has_moved_is_found,
);

async fn everything_of_a_batch_comes_back(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let mut batch = owner.batch();
    let user = batch.after.number_user(Lane(0));
    let episode = Uuid::new_v4();
    batch.records = vec![record(user, 1, 0), record(user, 2, 1)];
    batch.users.push(user_row(user, "u1", 2, true));
    batch.transitions.push(transition(user, 1, 1));
    batch.alerts = vec![alert(user, 2, episode, "firing"), alert(user, 3, episode, "resolved")];
    mail(&mut batch, Sink::Transitions, user, 1);
    mail(&mut batch, Sink::Alerts, user, 2);
    mail(&mut batch, Sink::Alerts, user, 3);
    dead_letter(&mut batch, 6, None);
    let stamp = batch.after.stamp;
    owner.commit(batch).await.expect("it is committed");

    let users = store.users(Asked::Ids(&["u1", "nobody"])).await.expect("users");
    assert_eq!(users.len(), 1);
    assert_eq!((users[0].user, users[0].user_id.as_str()), (user, "u1"));
    assert_eq!((users[0].record_number, users[0].message_number), (2, 1));
    assert_eq!(users[0].checkpoint.as_deref(), Some(b"state after 2".as_slice()));
    assert!(!users[0].quarantined);
    assert_eq!(store.users(Asked::Numbers(&[user])).await.expect("users").len(), 1);

    let records = records_of(store, user, 0).await;
    let (first, second) = (&records[0], &records[1]);
    assert_eq!((first.place.stamp, first.place.position, first.number), (stamp, 0, 1));
    assert_eq!((second.provenance.offset(), second.policy, second.engine), (1_002, 1, 1));
    assert_eq!(second.body, format!("record 2 of {}", user.0).into_bytes());

    let changes = store.alerts_of_user(user, 2, 10).await.expect("alerts");
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].status.as_str(), changes[0].alert_id), ("resolved", episode));
    assert_eq!(changes[0].ended_at, Some(Timestamp::from_micros(START + 3)));
    let switches = store.transitions_of_user(user, 0, 10).await.expect("transitions");
    assert_eq!((switches[0].seq, switches[0].body.as_slice()), (1, b"switch 1".as_slice()));
    assert_eq!(switches[0].recorded_at, stamp);

    let letters = store.outbox(Lane(0), Sink::DeadLetters, 0, 10).await.expect("outbox");
    assert_eq!((letters[0].number, letters[0].body.as_slice()), (4, b"raw 6".as_slice()));
    let letter = letters[0].dead_letter.as_ref().expect("it is one");
    assert_eq!((letter.offset, letter.reason.as_str()), (6, "not_json"));
    assert_eq!(
        (letter.record_time, letter.failed_at),
        (Some(Timestamp::from_micros(START)), stamp)
    );
    let totals = store.totals().await.expect("totals");
    assert_eq!((totals.users, totals.records, totals.outbox), (1, 2, 4));
    assert_eq!((totals.transitions, totals.alerts, totals.dead_letters), (1, 2, 1));
    let audited = "phi_access_log WHERE writer = 'lane/0' AND sequence = 1 AND user_id IS NULL";
    assert_eq!(place.count(audited).await, 1);
}

async fn a_lane_comes_back_as_it_was_written(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    assert_eq!(owner.progress.positions.events, 5);
    let mut batch = owner.batch();
    let after = &mut batch.after;
    after.positions.by_user = 99;
    after.marks = [(1, 17), (13, i64::MAX)].into();
    after.forwarded = [(1, 4)].into();
    after.closed =
        Some(ClosedGeneration { generation: 3, marks: [(1, 2)].into(), last: [(1, 5)].into() });
    after.modes.moved(None, Mode::Hypothesis);
    after.modes.moved(None, Mode::Reflex);
    after.counts.events.skipped = 2;
    after.counts.by_user.forwarded = 3;
    after.counts.by_user.dead_letter = 4;
    after.users = 12;
    after.checkpointed = Timestamp::from_micros(START - 1);
    owner.commit(batch).await.expect("it is committed");
    let written = owner.progress.clone();
    assert_eq!(Owner::of(&place.store, Lane(0)).await.progress, written);
    let lanes = place.store.lanes().await.expect("lanes");
    assert_eq!((lanes.len(), lanes[0].owner.as_str(), lanes[0].epoch), (2, "it", 2));
    assert_eq!(lanes[0].progress, written);
    assert!(lanes[0].claimed_at.is_some());
}

async fn records_come_back_in_order_a_page_at_a_time(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user("u1").await;
    let mut number = 1;
    for _ in 0..3 {
        let mut batch = owner.batch();
        for position in 0..4 {
            number += 1;
            batch.records.push(record(user, number, position));
        }
        owner.commit(batch).await.expect("it is committed");
    }
    let mut other = Owner::of(store, Lane(1)).await;
    other.with_user("u2").await;

    let mut read = Vec::new();
    let mut after = (Timestamp::from_micros(0), i32::MAX);
    loop {
        let page =
            store.records_of_lane(Lane(0), after, owner.progress.stamp, 5).await.expect("records");
        let Some(last) = page.last() else { break };
        after = (last.place.stamp, last.place.position);
        read.extend(page.iter().map(|record| record.number));
    }
    assert_eq!(read, (1..=13).collect::<Vec<i64>>());
}

/// A user's records with numbers above `after`.
async fn records_of(store: &SqlStore, user: UserNumber, after: i64) -> Vec<StoredRecord> {
    let mut chain = Chain::find(store, user, after, i64::MAX).await.expect("a way");
    let mut records = Vec::new();
    while let Some(page) = chain.next(store).await.expect("records") {
        records.extend(page);
    }
    records
}

async fn a_users_records_are_found_behind_and_before_the_checkpoint(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user(AT_HOME).await;
    owner.with_user("somebody").await;
    let numbers = async |after| -> Vec<i64> {
        records_of(store, user, after).await.iter().map(|record| record.number).collect()
    };
    assert_eq!(numbers(0).await, [1]);
    let mut number = 1;
    for has_checkpoint in [false, true, false] {
        let mut batch = owner.batch();
        for position in 0..3 {
            number += 1;
            batch.records.push(record(user, number, position));
        }
        if has_checkpoint {
            batch.users.push(user_row(user, AT_HOME, number, false));
            batch.after.checkpointed = batch.after.stamp;
        }
        owner.commit(batch).await.expect("it is committed");
    }
    assert_eq!(numbers(0).await, (1..=10).collect::<Vec<i64>>());
    assert_eq!(numbers(5).await, (6..=10).collect::<Vec<i64>>());
    assert_eq!(numbers(10).await, [0; 0]);
    // What retention has dropped ends the way, and leaves what is newer.
    place.run("DELETE FROM event_records WHERE number <= 4").await;
    assert_eq!(numbers(0).await, (5..=10).collect::<Vec<i64>>());
    let places = store.places_back(user, Begin::Newest { upto: i64::MAX }, 8).await;
    let places: Vec<_> = places.expect("places").iter().map(|found| found.place).collect();
    assert_eq!(places.len(), 2);
    let stranger = store.records_at(UserNumber(99), &places).await.expect("records");
    assert!(stranger.is_empty(), "a place leads to its own user's record only");
}

/// Numbers and bytes from all over their ranges, by a small generator (xorshift), so that a failure
/// comes again.
async fn whatever_goes_in_comes_out(place: Place) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user(AT_HOME).await;
    let mut number = 1;
    for _ in 0..20 {
        let mut batch = owner.batch();
        for position in 0..(next() % 20) as i32 {
            number += 1;
            let mut row = record(user, number, position);
            let offset = (next() >> (next() % 63)) as i64 & i64::MAX;
            row.provenance = match next() % 3 {
                0 => Provenance::Log(Source::Events, offset),
                1 => Provenance::Log(Source::ByUser, offset),
                _ => Provenance::Order(offset),
            };
            row.policy = next() as i32;
            row.engine = next() as i16;
            row.device_id = String::from_utf8_lossy(&next().to_be_bytes())
                .replace('\0', "é")
                .repeat((next() % 9) as usize)
                .into();
            row.event_type = ["", "💓", "a\"b'c\\d", "\t"][(next() % 4) as usize].into();
            row.body = Sealed((0..next() % 300).map(|_| next() as u8).collect());
            batch.records.push(row);
        }
        let written: Vec<_> = batch
            .records
            .iter()
            .map(|row| (row.number, row.provenance, row.policy, row.engine, row.body.0.clone()))
            .collect();
        let texts: Vec<_> = batch
            .records
            .iter()
            .map(|row| (row.device_id.to_string(), row.event_type.to_string()))
            .collect();
        let first = written.first().map_or(number + 1, |row| row.0);
        owner.commit(batch).await.expect("it is committed");
        let read = records_of(&place.store, user, first - 1).await;
        let read: Vec<_> = read
            .into_iter()
            .map(|row| (row.number, row.provenance, row.policy, row.engine, row.body))
            .collect();
        assert_eq!(read, written);
        let sql = format!(
            "SELECT device_id, event_type FROM event_records WHERE number >= {first} ORDER BY number"
        );
        let read: Vec<(String, String)> = place
            .rows(&sql)
            .await
            .iter()
            .map(|row| row.try_get_many_by_index().expect("two texts"))
            .collect();
        assert_eq!(read, texts);
    }
}

async fn a_checkpoint_replaces_an_older_one_only(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    batch.users.push(user_row(user, "u1", 9, false));
    owner.commit(batch).await.expect("a newer one is written");
    for number in [8, 9] {
        let mut batch = owner.batch();
        batch.records.push(record(user, 10, 0));
        batch.users.push(user_row(user, "u1", number, false));
        let refused = owner.commit(batch).await;
        assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
    }
    assert_eq!(place.count("event_records").await, 1, "nothing of such a batch is written");
    assert_eq!(Owner::of(&place.store, Lane(0)).await.progress.batch, 2);
}

async fn a_new_checkpoint_is_optional(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    let new = batch.after.number_user(Lane(0));
    let mut row = user_row(user, "u1", 5, false);
    row.checkpoint = None;
    batch.users.push(row);
    let mut row = user_row(new, "u2", 0, true);
    row.checkpoint = None;
    batch.users.push(row);
    owner.commit(batch).await.expect("it is committed");
    let mut users = place.store.users(Asked::Numbers(&[user, new])).await.expect("users");
    users.sort_by_key(|user| user.user);
    assert_eq!((users[0].record_number, users[0].checkpoint.is_some()), (1, true));
    assert_eq!((users[1].record_number, users[1].checkpoint.is_some()), (0, false));
}

async fn a_deleted_checkpoint_may_be_written_again(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    place.run("DELETE FROM neuros_checkpoints WHERE thread_id = 'u1'").await;
    let users = place.store.users(Asked::Numbers(&[user])).await.expect("users");
    assert_eq!((users[0].record_number, users[0].checkpoint.is_none()), (1, true));
    assert_eq!(place.count("neuros_checkpoints").await, 0);
    let mut batch = owner.batch();
    batch.users.push(user_row(user, "u1", 1, false));
    owner.commit(batch).await.expect("the same state, rebuilt, is written");
    assert_eq!(place.count("neuros_checkpoints").await, 1);
}

async fn a_rebuilt_state_replaces_one_after_the_same_record(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    for (record_number, is_written) in [(1, true), (0, false)] {
        let mut batch = owner.batch();
        let mut row = user_row(user, "u1", record_number, false);
        row.checkpoint = Some(Sealed(b"rebuilt".to_vec()));
        row.is_rebuilt = true;
        batch.users.push(row);
        let done = owner.commit(batch).await;
        assert_eq!(done.is_ok(), is_written, "over a newer one never: {done:?}");
    }
    let users = place.store.users(Asked::Numbers(&[user])).await.expect("users");
    assert_eq!(users[0].checkpoint.as_deref(), Some(b"rebuilt".as_slice()));
}

async fn a_user_goes_into_quarantine_once(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut since = Vec::new();
    for _ in 0..2 {
        let mut batch = owner.batch();
        let mut row = user_row(user, "u1", 1, false);
        (row.checkpoint, row.quarantine) = (None, Quarantine::Begins);
        batch.users.push(row);
        dead_letter(&mut batch, 3, Some(user));
        owner.commit(batch).await.expect("it is committed");
        let rows = place.rows("SELECT CAST(quarantined_at AS text) FROM users").await;
        since.push(rows[0].try_get_by_index::<String>(0).expect("a time"));
    }
    assert_eq!(since[0], since[1]);
    let mut batch = owner.batch();
    let new = batch.after.number_user(Lane(0));
    batch.users.push(user_row(new, "u0", 1, true));
    batch.users[0].quarantine = Quarantine::Begins;
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(place.store.quarantined().await.expect("ids"), ["u0", "u1"]);
    let users = place.store.users(Asked::Numbers(&[user])).await.expect("users");
    assert!(users[0].quarantined && users[0].checkpoint.is_some());

    let mut batch = owner.batch();
    batch.users.push(user_row(UserNumber(77), "u77", 1, false));
    batch.users[0].checkpoint = None;
    batch.users[0].quarantine = Quarantine::Begins;
    let refused = owner.commit(batch).await;
    assert!(
        matches!(refused, Err(CommitError::Refused(_))),
        "a user who is not there: {refused:?}"
    );
}

async fn instants_that_no_calendar_has_do_not_stop_a_lane(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    for (position, micros) in [i64::MIN, -1, i64::MAX].into_iter().enumerate() {
        let mut row = record(user, position as i64 + 2, position as i32);
        row.record_time = Timestamp::from_micros(micros);
        batch.records.push(row);
    }
    owner.commit(batch).await.expect("it is committed");
}

async fn a_caller_that_goes_away_stops_nothing(place: Place) {
    let owner = Owner::first(&place.store).await;
    let mut batch = owner.batch();
    let user = batch.after.number_user(Lane(0));
    batch.users.push(user_row(user, "u1", 1, true));
    batch.records = (0..500).map(|at| record(user, i64::from(at) + 1, at)).collect();
    tokio::select! {
        biased;
        done = place.store.commit(&batch) => panic!("it has not had the time: {done:?}"),
        // Asked once, then dropped.
        () = std::future::ready(()) => {}
    }
    drop(batch);
    let patience = std::time::Duration::from_secs(10);
    let committed = tokio::time::timeout(patience, async {
        // Nothing of it, or all of it; and a transaction that is open would keep the claim waiting.
        loop {
            match place.count("event_records").await {
                0 => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                count => return count,
            }
        }
    });
    assert_eq!(committed.await.expect("the batch is committed all the same"), 500);
    assert_eq!(Owner::of(&place.store, Lane(0)).await.progress.batch, 1);
}

async fn a_batch_of_thousands_is_one_batch(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let mut batch = owner.batch();
    for at in 0..6_000 {
        let user = batch.after.number_user(Lane(0));
        batch.users.push(user_row(user, &format!("u{at}"), 1, true));
        batch.records.push(record(user, 1, at));
        mail(&mut batch, Sink::Transitions, user, 1);
        batch.transitions.push(transition(user, 1, 1));
    }
    owner.commit(batch).await.expect("it is committed");
    let totals = place.store.totals().await.expect("totals");
    assert_eq!((totals.users, totals.records, totals.outbox), (6_000, 6_000, 6_000));
    let ids: Vec<String> = (0..40_000).map(|at| format!("u{at}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(place.store.users(Asked::Ids(&ids)).await.expect("users").len(), 6_000);
    let numbers: Vec<UserNumber> = (0..40_000).map(|at| UserNumber(at << 14)).collect();
    assert_eq!(place.store.users(Asked::Numbers(&numbers)).await.expect("users").len(), 6_000);
}

/// Of few records, which go with the lane's row, and of many, which come behind it.
async fn a_lanes_row_that_has_moved_is_found(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let (mut user, mut number) = (None, 0);
    for records in [1, 1, 2_000, 1] {
        let mut batch = owner.batch();
        let is_new = user.is_none();
        let user = *user.get_or_insert_with(|| batch.after.number_user(Lane(0)));
        batch.records =
            (0..records).map(|at| record(user, number + 1 + i64::from(at), at)).collect();
        number += i64::from(records);
        batch.users.push(user_row(user, "u1", number, is_new));
        owner.commit(batch).await.expect("it is committed");
        // Whatever else writes to the row leaves a new version of it elsewhere.
        place.run("UPDATE lanes SET users = users").await;
    }
    assert_eq!(place.count("event_records").await, number);
}

/// Used by other facts too: a token that nobody has.
pub(crate) fn stranger() -> FenceToken {
    FenceToken(Uuid::new_v4())
}
