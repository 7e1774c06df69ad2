//! What an erasure, a readmission and the life of keys come to in the tables.

use actors::dead_letter::Letter;
use actors::lane::{Lane, UserNumber};
use actors::rows::{Erasure, ErasureRow, Quarantine, Sink};
use actors::store::{Asked, Begin, Start, Store as _};
use biometric_bridge::store::{Administration as _, Options, Swept, WrappedKey, open};
use neuros::time::Timestamp;
use uuid::Uuid;

use super::batches::{
    Owner, START, alert, dead_letter, keep_base, mail, record, transition, user_row,
};
use super::facts;
use super::places::Place;

facts!(
    an_erased_user_is_a_tombstone_behind_which_numbers_go_on,
    what_an_erased_user_had_is_swept_away_and_nothing_of_others,
    a_destroyed_letter_stays_off_the_list_without_its_record,
    destroyed_keys_stay_destroyed_and_are_nobodys_to_wrap,
    a_next_key_follows_on_one_that_is_live_whoever_destroys_it_meanwhile,
    a_newer_key_retires_the_older_and_begins_to_count_anew,
    keys_go_to_a_key_store_of_their_own_and_none_is_lost,
);

/// `u1` with two records, a mode change and an alert, a base, and a checkpoint that is behind.
async fn person(place: &Place, owner: &mut Owner, id: &str) -> UserNumber {
    let user = owner.with_user(id).await;
    let mut batch = owner.batch();
    batch.records.push(record(user, 2, 0));
    batch.transitions.push(transition(user, 1, 1));
    batch.alerts.push(alert(user, 2, Uuid::new_v4(), "firing"));
    mail(&mut batch, Sink::Transitions, user, 1);
    mail(&mut batch, Sink::Alerts, user, 2);
    owner.commit(batch).await.expect("it is committed");
    keep_base(place, user, 1, Timestamp::from_micros(START)).await;
    user
}

async fn erase(owner: &mut Owner, user: UserNumber, record_number: i64) {
    let begin = Begin::Newest { upto: i64::MAX };
    let places = owner.store.places_back(user, begin, 0).await.expect("places");
    let newest = places.first().map(|newest| newest.place);
    let mut batch = owner.batch();
    let change = Erasure::Begins { record_number, newest, key_number: 4 };
    batch.erasures.push(ErasureRow { user, change });
    owner.commit(batch).await.expect("it is committed");
}

async fn an_erased_user_is_a_tombstone_behind_which_numbers_go_on(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = person(&place, &mut owner, "u1").await;
    let mut batch = owner.batch();
    let mut row = user_row(user, "u1", 1, false);
    (row.checkpoint, row.quarantine) = (None, Quarantine::Begins);
    batch.users.push(row);
    owner.commit(batch).await.expect("it is committed");
    erase(&mut owner, user, 2).await;
    let store = &place.store;
    let stored = store.users(Asked::Ids(&["u1"])).await.expect("users").remove(0);
    assert!(stored.erased && !stored.quarantined && stored.checkpoint.is_none());
    let start = Start { record_number: 2, message_number: 2, seq: 1 };
    assert_eq!((stored.start, stored.record_number, stored.message_number), (start, 2, 2));
    assert_eq!(stored.start_key_number, 4);
    assert_eq!(store.erased().await.expect("ids"), ["u1"]);
    assert!(store.quarantined().await.expect("ids").is_empty());
    assert!(store.erased_at("u1").await.expect("an answer").is_some());
    // Once more, when there is nothing left to count.
    store.sweep_erased(user).await.expect("it is swept");
    erase(&mut owner, user, 2).await;
    let mut batch = owner.batch();
    batch.erasures.push(ErasureRow { user, change: Erasure::Ends });
    owner.commit(batch).await.expect("it is committed");
    let stored = store.users(Asked::Numbers(&[user])).await.expect("users").remove(0);
    assert!(!stored.erased);
    assert_eq!((stored.start, stored.start_key_number), (start, 4));
    assert!(store.erased().await.expect("ids").is_empty());
    // What comes now is behind what was, and a later erasure knows of both.
    let mut batch = owner.batch();
    batch.records.push(record(user, 3, 0));
    batch.transitions.push(transition(user, 2, 3));
    batch.users.push(user_row(user, "u1", 3, false));
    owner.commit(batch).await.expect("the numbers are free");
    erase(&mut owner, user, 3).await;
    let stored = store.users(Asked::Numbers(&[user])).await.expect("users").remove(0);
    assert_eq!(stored.start, Start { record_number: 3, message_number: 3, seq: 2 });
}

async fn what_an_erased_user_had_is_swept_away_and_nothing_of_others(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let store = &place.store;
    let (user, other) =
        (person(&place, &mut owner, "u1").await, person(&place, &mut owner, "u2").await);
    store.sweep_erased(user).await.expect_err("the user is not erased");
    erase(&mut owner, user, 2).await;
    let swept = store.sweep_erased(user).await.expect("it is swept");
    assert_eq!(swept, Swept { records: 2, transitions: 1, alerts: 1, bases: 1, coach_messages: 0 });
    for table in ["event_records", "mode_transitions", "alert_changes", "base_checkpoints"] {
        let of = |user: UserNumber| format!("{table} WHERE user_number = {}", user.0);
        assert_eq!(place.count(&of(user)).await, 0, "{table}");
        assert!(place.count(&of(other)).await > 0, "{table}");
    }
    assert_eq!(store.sweep_erased(user).await.expect("again"), Swept::default());
    let left = store.left_of(user, "u1").await.expect("counts");
    assert_eq!((left.outbox, left.accesses), (2, 0));
}

async fn a_destroyed_letter_stays_off_the_list_without_its_record(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let store = &place.store;
    let mut batch = owner.batch();
    for offset in 0..3 {
        dead_letter(&mut batch, offset, None);
    }
    owner.commit(batch).await.expect("it is committed");
    let sealed = async |after| {
        let page = store.sealed_letters((Lane(0), after), 2).await.expect("letters");
        page.iter().map(|letter| letter.letter.number).collect::<Vec<_>>()
    };
    assert_eq!((sealed(0).await, sealed(2).await), (vec![1, 2], vec![3]));
    let letter = Letter { lane: Lane(0), number: 2 };
    let at = Timestamp::from_micros(START);
    assert_eq!(store.destroy_letters(&[letter], at).await.expect("destroyed"), 1);
    assert_eq!(
        (sealed(0).await, store.count_sealed_letters().await.expect("a count")),
        (vec![1, 3], 2)
    );
    let destroyed = store.sealed_letter(letter).await.expect("an answer").expect("its row stays");
    assert!(destroyed.body.is_empty());
    assert_eq!(
        place.count("dead_letters WHERE fate = 'erased' AND released_at IS NOT NULL").await,
        1
    );
    // The relay still finds a row for each of its own.
    let rows = store.outbox(Lane(0), Sink::DeadLetters, 0, 9).await.expect("rows");
    assert_eq!(rows.len(), 3);
}

fn wrapped(user: i64, number: i32) -> WrappedKey {
    let encrypted_key = format!("key {number} of {user}").into_bytes();
    WrappedKey { user: UserNumber(user), number, encrypted_key, wrapped_by: "kek-a".to_owned() }
}

async fn destroyed_keys_stay_destroyed_and_are_nobodys_to_wrap(place: Place) {
    let store = &place.store;
    let keys = [wrapped(1, 1), wrapped(1, 2), wrapped(2, 1), wrapped(3, 1)];
    assert_eq!(store.add_keys(&keys).await.expect("kept"), 4);
    assert_eq!(store.destroy_keys(UserNumber(1), 2).await.expect("destroyed"), 2);
    assert_eq!(store.destroy_keys(UserNumber(1), 2).await.expect("already"), 0);
    let kept = store.keys(&[UserNumber(1)]).await.expect("keys");
    assert!(kept.len() == 2 && kept.iter().all(|key| key.encrypted_key.is_empty()));
    assert_eq!(store.add_keys(&keys[..2]).await.expect("an answer"), 0, "numbers stay taken");
    assert_eq!(store.keyless_users().await.expect("users"), [UserNumber(1)]);
    assert_eq!(store.wrappers().await.expect("names"), [("kek-a".to_owned(), 2)]);
    let after = (UserNumber(i64::MIN), 0);
    let live = store.keys_after(after, None, 9).await.expect("keys");
    assert_eq!(live.iter().map(|key| key.user.0).collect::<Vec<_>>(), [2, 3]);
    let facts = store.key_facts(UserNumber(1)).await.expect("facts");
    assert!(facts.iter().all(|fact| fact.destroyed_at.is_some() && fact.wrapped_by.is_empty()));
    store.add_keys(&[wrapped(1, 3)]).await.expect("kept");
    assert!(store.keyless_users().await.expect("users").is_empty());
    assert_eq!(store.destroy_keys(UserNumber(1), 2).await.expect("no newer one"), 0);
    assert_eq!(store.destroy_keys(UserNumber(9), 1).await.expect("nobody"), 0);
}

async fn a_next_key_follows_on_one_that_is_live_whoever_destroys_it_meanwhile(place: Place) {
    let store = &place.store;
    let live = async |user: i64| {
        let facts = store.key_facts(UserNumber(user)).await.expect("facts");
        facts.iter().filter(|fact| fact.destroyed_at.is_none()).count()
    };
    assert_eq!(store.add_next_keys(&[wrapped(1, 1), wrapped(2, 2)]).await.expect("kept"), 1);
    assert_eq!(store.add_next_keys(&[wrapped(1, 1), wrapped(1, 2)]).await.expect("kept"), 1);
    store.destroy_keys(UserNumber(1), 2).await.expect("destroyed");
    assert_eq!(store.add_next_keys(&[wrapped(1, 3)]).await.expect("an answer"), 0);
    assert_eq!(live(1).await, 0);
    if !place.is_postgres() {
        return;
    }
    // Somebody destroys it and has not committed yet: that is waited for.
    store.add_keys(&[wrapped(3, 1)]).await.expect("kept");
    let outside = sea_orm::Database::connect(&place.url).await.expect("it answers");
    let destroying = sea_orm::TransactionTrait::begin(&outside).await.expect("it begins");
    let destroy = "UPDATE encryption_keys SET destroyed_at = now() WHERE user_number = 3";
    let done = sea_orm::ConnectionTrait::execute_unprepared(&destroying, destroy).await;
    done.expect("destroyed");
    let next = [wrapped(3, 2)];
    let commits = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        destroying.commit().await.expect("committed");
    };
    let (added, ()) = tokio::join!(store.add_next_keys(&next), commits);
    assert_eq!((added.expect("an answer"), live(3).await), (0, 0));
}

async fn a_newer_key_retires_the_older_and_begins_to_count_anew(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let store = &place.store;
    let user = owner.with_user("u1").await;
    store.add_keys(&[wrapped(user.0, 1), wrapped(0, 1)]).await.expect("kept");
    let (long_ago, now) = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
    let newest =
        async |before| store.newest_keys(UserNumber(i64::MIN), before, 9).await.expect("keys");
    assert_eq!(newest(now).await, [(user, 1)], "the service's own is not among them");
    assert!(newest(long_ago).await.is_empty());
    assert_eq!(store.retire_older_keys().await.expect("none"), 0);
    let sealed = store.sealed_by(&[user]).await.expect("a count");
    assert_eq!(sealed, [(user, 6)], "a record, its checkpoint and a base, and that twice");
    store.add_keys(&[wrapped(user.0, 2)]).await.expect("kept");
    store.note_sealed_before(&sealed).await.expect("noted");
    assert_eq!(store.retire_older_keys().await.expect("one"), 1);
    assert_eq!(newest(now).await, [(user, 2)]);
    let facts = store.key_facts(user).await.expect("facts");
    let retired = facts.iter().map(|fact| fact.retired_at.is_some()).collect::<Vec<_>>();
    assert_eq!(retired, [true, false]);
    let before = store.sealed_before(UserNumber(0), user).await.expect("counts");
    assert_eq!(before.into_iter().collect::<Vec<_>>(), [(user, 6)]);
    assert!(store.sealed_before(user, user).await.expect("counts").is_empty());
    let behind = async |after| store.sealed_behind(after, 9).await.expect("users");
    let page = behind(UserNumber(0)).await;
    assert_eq!(page.iter().map(|used| (used.user, used.sealed)).collect::<Vec<_>>(), [(user, 6)]);
    assert!(behind(user).await.is_empty());
    let mut batch = owner.batch();
    dead_letter(&mut batch, 1, None);
    batch.after.counts.events.dead_letter += 1;
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(store.sealed_by_service().await.expect("a count"), 2);
}

async fn keys_go_to_a_key_store_of_their_own_and_none_is_lost(place: Place) {
    let store = &place.store;
    let other = match place.is_postgres() {
        true => super::places::postgres().await.expect("there is a server").url,
        false => format!("{}.keys?mode=rwc", place.url),
    };
    let target = open(&other, &Options::default()).await.expect("it opens");
    if place.is_postgres() {
        // The schema of the data is there already: both may lie in one database, but for the table of keys.
        place.store.ping().await.expect("it answers");
        let outside = sea_orm::Database::connect(&other).await.expect("it answers");
        let drop =
            sea_orm::ConnectionTrait::execute_unprepared(&outside, "DROP TABLE encryption_keys");
        drop.await.expect("dropped");
    }
    assert!(target.key_schema_status().await.expect("a status").check().is_err());
    target.migrate_keys_up().await.expect("made");
    target.migrate_keys_up().await.expect("made already");
    target.key_schema_status().await.expect("a status").check().expect("it fits");
    let keys: Vec<WrappedKey> = (0..2_500).map(|user| wrapped(user, 1)).collect();
    store.add_keys(&keys).await.expect("kept");
    store.destroy_keys(UserNumber(7), 1).await.expect("destroyed");
    let facts = store.key_facts(UserNumber(9)).await.expect("facts");
    assert!(
        store.has_keys().await.expect("an answer") && !store.keys_were_moved().await.expect("no")
    );
    // A few are there from an attempt that was cut off.
    target.add_keys(&keys[8..20]).await.expect("kept");
    let refused = store.move_keys(&target).await.expect_err("their times are others");
    assert!(refused.to_string().contains("another installation"), "{refused}");
    let everywhere = UserNumber(i64::MAX);
    assert_eq!(store.count_keys().await.expect("a count"), 2_500, "none is deleted");
    assert!(!store.keys_were_moved().await.expect("no"), "nor is anybody kept from using them");
    let outside = sea_orm::Database::connect(&other).await.expect("it answers");
    let empty =
        sea_orm::ConnectionTrait::execute_unprepared(&outside, "DELETE FROM encryption_keys");
    empty.await.expect("emptied");
    assert_eq!(store.move_keys(&target).await.expect("moved"), 2_500);
    assert!(!store.has_keys().await.expect("none") && store.keys_were_moved().await.expect("yes"));
    assert_eq!(target.count_keys().await.expect("a count"), 2_500);
    assert_eq!(target.key_facts(UserNumber(9)).await.expect("facts"), facts);
    assert_eq!(target.keyless_users().await.expect("users"), [UserNumber(7)]);
    assert_eq!(
        target
            .newest_keys(UserNumber(2_490), Timestamp::from_micros(i64::MAX), 99)
            .await
            .expect("keys")
            .len(),
        9
    );
    assert_eq!(store.move_keys(&target).await.expect("nothing is left"), 0);
    assert_eq!(target.keys(&[everywhere]).await.expect("none"), []);
}
