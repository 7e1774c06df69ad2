//! Policies, keys, the outbox, accesses: what is kept beside the batches.

use actors::lane::{Lane, UserNumber};
use actors::rows::Sink;
use actors::store::{Store, StoreError};
use biometric_bridge::store::{Access, Administration, Options, WrappedKey, open};
use neuros::time::Timestamp;

use super::batches::{Owner, START, dead_letter, keep_base, mail};
use super::facts;
use super::places::Place;

facts!(
    a_policy_is_kept_once,
    a_key_is_kept_once_whoever_made_it,
    keys_are_found_by_what_wraps_them_and_wrapped_anew,
    each_sink_sees_its_own_rows_of_the_outbox,
    bases_are_read_the_newest_first,
    users_are_read_a_page_at_a_time,
    an_access_is_written_down,
    the_store_answers,
    the_outbox_is_pruned_behind_every_cursor,
    what_the_peer_has_not_taken_is_kept_where_there_is_one,
);

async fn a_policy_is_kept_once(place: Place) {
    let store = &place.store;
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move { store.keep_policy("v1", "hrv: 1").await }));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(task.await.expect("it ends").expect("a number"));
    }
    numbers.dedup();
    assert_eq!(numbers.len(), 1);
    let other = store.keep_policy("v2", "hrv: 2").await.expect("a number");
    assert_ne!(other, numbers[0]);
    let (version, text) = store.policy(other).await.expect("a policy");
    assert_eq!((version.as_str(), text.as_str()), ("v2", "hrv: 2"));
    let refused = store.policy(99).await.expect_err("no such policy");
    assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
}

fn key(user: i64, number: i32) -> WrappedKey {
    WrappedKey {
        user: UserNumber(user),
        number,
        encrypted_key: vec![7, 0, 255],
        wrapped_by: "file:1".to_owned(),
    }
}

async fn a_key_is_kept_once_whoever_made_it(place: Place) {
    let store = &place.store;
    let mine = [key(16_384, 1), key(0, 1)];
    assert_eq!(store.keep_keys(&mine).await.expect("they are kept"), mine);
    let theirs = [key(16_384, 1), key(32_768, 1), key(16_384, 2)];
    let kept = store.keep_keys(&theirs).await.expect("they are kept");
    assert_eq!(kept, [mine[0].clone(), theirs[1].clone(), theirs[2].clone()]);
    let found = store.keys(&[UserNumber(16_384), UserNumber(5)]).await.expect("keys");
    assert_eq!(found, [mine[0].clone(), theirs[2].clone()]);
    assert_eq!(store.keys(&[UserNumber(0)]).await.expect("keys"), [mine[1].clone()]);
    assert_eq!(store.keep_keys(&[]).await.expect("nothing to do"), []);
}

async fn keys_are_found_by_what_wraps_them_and_wrapped_anew(place: Place) {
    let store = &place.store;
    assert_eq!(store.wrappers().await.expect("nothing yet"), []);
    let keys = [key(0, 1), key(16_384, 1), key(16_384, 2), key(32_768, 1)];
    store.keep_keys(&keys).await.expect("they are kept");
    let start = (UserNumber(i64::MIN), 0);
    let page = store.keys_after(start, None, 3).await.expect("a page");
    assert_eq!(page, keys[..3], "by owner and number");
    let rest = store.keys_after((UserNumber(16_384), 1), None, 3).await.expect("a page");
    assert_eq!(rest, keys[2..], "a page may begin between two keys of one owner");
    let anew = |before: &WrappedKey, encrypted_key: &[u8]| WrappedKey {
        encrypted_key: encrypted_key.to_vec(),
        wrapped_by: "file:2".to_owned(),
        ..before.clone()
    };
    // Somebody else has wrapped the last one meanwhile.
    let stale = WrappedKey { encrypted_key: vec![8], ..keys[3].clone() };
    let pairs = [
        (keys[1].clone(), anew(&keys[1], &[1])),
        (keys[2].clone(), anew(&keys[2], &[2])),
        (stale.clone(), anew(&stale, &[3])),
    ];
    assert_eq!(store.rewrap_keys(&pairs).await.expect("two"), 2);
    let left = store.keys_after(start, Some("file:2"), 10).await.expect("the others");
    assert_eq!(left, [keys[0].clone(), keys[3].clone()]);
    let found = store.keys(&[UserNumber(16_384)]).await.expect("keys");
    assert_eq!(found, [pairs[0].1.clone(), pairs[1].1.clone()]);
    let wrappers = store.wrappers().await.expect("both");
    assert_eq!(wrappers, [("file:1".to_owned(), 2), ("file:2".to_owned(), 2)]);
    assert_eq!(store.rewrap_keys(&[]).await.expect("nothing to do"), 0);
}

async fn each_sink_sees_its_own_rows_of_the_outbox(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    for n in 1..=3 {
        mail(&mut batch, Sink::Transitions, user, n * 2 - 1);
        mail(&mut batch, Sink::Alerts, user, n * 2);
        dead_letter(&mut batch, n, None);
    }
    owner.commit(batch).await.expect("it is committed");
    let mail = store.outbox(Lane(0), Sink::Alerts, 2, 10).await.expect("rows");
    let seen: Vec<(i64, Option<i64>)> = mail.iter().map(|row| (row.number, row.n)).collect();
    assert_eq!(seen, [(5, Some(4)), (8, Some(6))]);
    assert_eq!((mail[0].user, mail[0].user_id.as_deref()), (Some(user), Some("u1")));
    assert_eq!(mail[0].body, b"message 4");
    let both = store.outbox(Lane(0), Sink::Peer, 2, 3).await.expect("rows");
    let seen: Vec<i64> = both.iter().map(|row| row.number).collect();
    assert_eq!(seen, [4, 5, 7], "the peer takes what both topics of messages are given");
    assert_eq!(both[0].recorded_at, owner.progress.stamp);
    let letters = store.outbox(Lane(0), Sink::DeadLetters, 0, 2).await.expect("rows");
    let seen: Vec<i64> = letters.iter().map(|row| row.number).collect();
    assert_eq!(seen, [3, 6]);
    let letter = letters[0].dead_letter.as_ref().expect("it is one");
    assert_eq!((letter.record_time, letter.detail.as_str()), (None, "not JSON at byte 3"));
    assert!(store.outbox(Lane(1), Sink::Alerts, 0, 10).await.expect("rows").is_empty());
}

async fn bases_are_read_the_newest_first(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    assert!(place.store.bases(user, i64::MAX).await.expect("an answer").is_empty());
    for number in [10, 30, 20] {
        keep_base(&place, user, number, Timestamp::from_micros(START)).await;
    }
    let bases = place.store.bases(user, i64::MAX).await.expect("an answer");
    let numbers: Vec<i64> = bases.iter().map(|base| base.record_number).collect();
    assert_eq!(numbers, [30, 20, 10]);
    assert_eq!((bases[0].message_number, bases[0].engine), (15, 1));
}

async fn users_are_read_a_page_at_a_time(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    for id in ["u1", "u2", "u3"] {
        owner.with_user(id).await;
    }
    let mut seen = Vec::new();
    let mut after = UserNumber(0);
    loop {
        let page = place.store.users_after(after, 2).await.expect("users");
        let Some(last) = page.last() else { break };
        after = last.user;
        seen.extend(page.into_iter().map(|user| user.user_id));
    }
    assert_eq!(seen, ["u1", "u2", "u3"]);
}

async fn an_access_is_written_down(place: Place) {
    let access = Access {
        user_id: Some("u1".to_owned()),
        accessor_id: "dr. who".to_owned(),
        access_type: "EXPORT".to_owned(),
        table_name: "biometric_events".to_owned(),
        record_id: None,
        records: 12,
        time: Timestamp::from_micros(START),
    };
    place.store.log_access(&access).await.expect("it is written");
    let row = "phi_access_log WHERE user_id = 'u1' AND accessor_id = 'dr. who' AND records = 12 \
               AND record_id IS NULL";
    assert_eq!(place.count(row).await, 1);
}

async fn the_store_answers(place: Place) {
    place.store.ping().await.expect("it answers");
    place.store.close().await;
    place.store.ping().await.expect_err("it is closed");
}

async fn the_outbox_is_pruned_behind_every_cursor(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    mail(&mut batch, Sink::Transitions, user, 1);
    mail(&mut batch, Sink::Alerts, user, 2);
    owner.commit(batch).await.expect("it is committed");
    let store = &place.store;
    let later = Timestamp::from_micros(START + 60_000_000);
    assert_eq!(store.prune_outbox(later, 9).await.expect("none has left"), 0);
    let moved = store.move_cursor(owner.lane, owner.token, Sink::Alerts, 2).await;
    assert!(moved.expect("an answer"));
    assert_eq!(store.prune_outbox(Timestamp::from_micros(START), 9).await.expect("too new"), 0);
    assert_eq!(store.prune_outbox(later, 9).await.expect("one"), 1);
    assert_eq!(place.count("outbox").await, 1);
}

async fn what_the_peer_has_not_taken_is_kept_where_there_is_one(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    mail(&mut batch, Sink::Transitions, user, 1);
    mail(&mut batch, Sink::Alerts, user, 2);
    dead_letter(&mut batch, 3, None);
    owner.commit(batch).await.expect("it is committed");
    let options = Options { sinks: Sink::ALL.to_vec(), ..Options::default() };
    let store = open(&place.url, &options).await.expect("it opens");
    let moves = async |sink, to| {
        let moved = store.move_cursor(owner.lane, owner.token, sink, to).await;
        assert!(moved.expect("an answer"));
    };
    for sink in Sink::TOPICS {
        moves(sink, 3).await;
    }
    let later = Timestamp::from_micros(START + 60_000_000);
    assert_eq!(store.prune_outbox(later, 9).await.expect("the dead letter"), 1);
    moves(Sink::Peer, 1).await;
    assert_eq!(store.prune_outbox(later, 9).await.expect("what it has taken"), 1);
    assert_eq!(place.count("outbox").await, 1);
    let pruned = place.store.prune_outbox(later, 9).await;
    assert_eq!(pruned.expect("where there is none, nothing waits for it"), 1);
}
