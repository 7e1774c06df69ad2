//! What commands and the release of dead letters write, and what operators see of them.

use actors::command::{Letters, Order};
use actors::dead_letter::Letter;
use actors::lane::Lane;
use actors::rows::{CommandRow, Fate, Quarantine, ReleasedRow};
use actors::seal::{DataKey, Seal as _};
use actors::store::{Asked, AskedLetters, CommitError, Store};
use biometric_bridge::seal::Sealer;
use biometric_bridge::store::LetterFilter;
use neuros::time::Timestamp;

use super::batches::{Owner, START, dead_letter, user_row};
use super::facts;
use super::places::Place;

facts!(
    a_release_ends_the_quarantine_with_its_last_letter,
    a_command_is_carried_out_once,
    dead_letters_are_listed_a_page_at_a_time,
    a_letter_of_another_lane_leaves_the_list_once,
);

fn letter(lane: i32, number: i64) -> Letter {
    Letter { lane: Lane(lane), number }
}

async fn a_release_ends_the_quarantine_with_its_last_letter(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    let mut row = user_row(user, "u1", 1, false);
    (row.checkpoint, row.quarantine) = (None, Quarantine::Begins);
    batch.users.push(row);
    for offset in 0..3 {
        dead_letter(&mut batch, offset, Some(user));
    }
    dead_letter(&mut batch, 3, None);
    owner.commit(batch).await.expect("it is committed");
    let two = store.letters(AskedLetters::OfUser(user, 2)).await.expect("letters");
    assert_eq!(
        two.iter().map(|letter| (letter.letter.number, letter.offset)).collect::<Vec<_>>(),
        [(1, 0), (2, 1)]
    );
    let waiting = store.quarantined_users().await.expect("users");
    assert_eq!((waiting.len(), waiting[0].waiting), (1, 3));
    let of_user = Order::Release { user_id: "u1".to_owned() };
    let of_names = Order::Discard(Letters::of([letter(0, 2), letter(0, 4), letter(1, 4)]));
    let left = async || {
        let count = |order| async move { store.on_the_list(order).await.expect("a count") };
        (count(&of_user).await, count(&of_names).await)
    };
    assert_eq!(left().await, (3, 2));

    let release = |number, fate| ReleasedRow { letter: letter(0, number), fate };
    let mut batch = owner.batch();
    batch.released = vec![release(1, Fate::Applied), release(2, Fate::Duplicate)];
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(left().await, (1, 1), "what has left the list is done");
    let names = [4, 1, 2, 3, 5].map(|number| letter(0, number));
    let left = store.letters(AskedLetters::Named(&names)).await.expect("letters");
    let left: Vec<Letter> = left.iter().map(|stored| stored.letter).collect();
    assert_eq!(left, [names[0], names[3]], "in the order in which they were asked for");

    let mut batch = owner.batch();
    batch.released = vec![release(2, Fate::Applied), release(3, Fate::Applied)];
    let refused = owner.commit(batch).await;
    assert!(matches!(refused, Err(CommitError::Refused(_))), "it has left: {refused:?}");
    assert_eq!(place.count("dead_letters WHERE fate IS NOT NULL").await, 2, "all or nothing");

    let mut batch = owner.batch();
    let mut row = user_row(user, "u1", 1, false);
    (row.checkpoint, row.quarantine) = (None, Quarantine::Ends);
    batch.users.push(row);
    batch.released = vec![release(3, Fate::Discarded)];
    owner.commit(batch).await.expect("it is committed");
    assert!(store.quarantined().await.expect("ids").is_empty());
    let users = store.users(Asked::Numbers(&[user])).await.expect("users");
    assert!(!users[0].quarantined && users[0].checkpoint.is_some());
    assert_eq!(place.count("dead_letters WHERE fate = 'discarded'").await, 1);
}

async fn a_command_is_carried_out_once(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let (seal, key) =
        (Sealer::new(Default::default()).expect("a cipher"), DataKey::new(&[7; 32], 1));
    let at = Timestamp::from_micros(START);
    let mut ids = Vec::new();
    for (lane, order) in [
        (0, Order::Release { user_id: "u1".to_owned() }),
        (0, Order::Redrive(Letters::of([letter(0, 2), letter(1, 1)]))),
        (1, Order::Discard(Letters::of([letter(1, 5)]))),
    ] {
        let asked = store.ask((Lane(lane), 1), &order, (&seal, &key), "somebody", at).await;
        ids.push(asked.expect("the row is written"));
        let open = store.commands(Lane(lane), 10).await.expect("commands");
        let row = open.last().expect("it is open");
        let sealed = row.body.as_deref();
        let place = actors::command::place(Lane(lane), row.requested_at);
        let body = sealed.map(|sealed| seal.open(&key, place, sealed).expect("it opens"));
        let read = Order::of_stored(&row.kind, row.user_id.as_deref(), body.as_ref());
        assert_eq!(read, Some(order));
    }
    let carried_out = |id| CommandRow { id, record_number: Some(9), outcome: "done".to_owned() };
    let mut batch = owner.batch();
    batch.after.positions = batch.before.positions;
    batch.commands = vec![carried_out(ids[0])];
    owner.commit(batch).await.expect("a batch of commands moves no position");
    assert_eq!(store.outcome(ids[0]).await.expect("it is there").as_deref(), Some("done"));
    assert_eq!(store.outcome(ids[1]).await.expect("it is there"), None);
    let open = store.commands(Lane(0), 10).await.expect("commands");
    assert_eq!(open.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[1]]);
    for id in [ids[0], ids[2]] {
        let mut batch = owner.batch();
        batch.commands = vec![carried_out(id)];
        let refused = owner.commit(batch).await;
        assert!(matches!(refused, Err(CommitError::Refused(_))), "done or not ours: {refused:?}");
    }
    store.outcome(999).await.expect_err("there is none");
}

async fn dead_letters_are_listed_a_page_at_a_time(place: Place) {
    let store = &place.store;
    let mut owner = Owner::first(store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    for offset in 0..5 {
        dead_letter(&mut batch, offset, (offset == 2).then_some(user));
    }
    owner.commit(batch).await.expect("it is committed");
    let listed = async |filter: &LetterFilter, after: i64, limit: i64| {
        let page = store.letters_after(filter, (Lane(0), after), limit).await.expect("letters");
        page.iter().map(|letter| letter.number).collect::<Vec<_>>()
    };
    let all = LetterFilter::default();
    assert_eq!(listed(&all, 0, 3).await, [1, 2, 3]);
    assert_eq!(listed(&all, 3, 3).await, [4, 5]);
    let of_user = LetterFilter { user_id: Some("u1".to_owned()), ..LetterFilter::default() };
    assert_eq!(listed(&of_user, 0, 9).await, [3]);
    for none in [
        LetterFilter { lane: Some(1), ..LetterFilter::default() },
        LetterFilter { reason: Some("dance".to_owned()), ..LetterFilter::default() },
        LetterFilter { since: Some(Timestamp::from_micros(i64::MAX)), ..LetterFilter::default() },
    ] {
        assert_eq!(listed(&none, 0, 9).await, [0i64; 0], "{none:?}");
    }
    let mut batch = owner.batch();
    batch.released = vec![ReleasedRow { letter: letter(0, 4), fate: Fate::Applied }];
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(listed(&all, 0, 9).await, [1, 2, 3, 5]);
    let with_released = LetterFilter { with_released: true, ..LetterFilter::default() };
    assert_eq!(listed(&with_released, 0, 9).await, [1, 2, 3, 4, 5]);
    let sealed = async |number| store.sealed_letter(letter(0, number)).await.expect("an answer");
    assert_eq!(sealed(4).await.expect("it is there").body, b"raw 3");
    assert!(sealed(9).await.is_none());
}

async fn a_letter_of_another_lane_leaves_the_list_once(place: Place) {
    let store = &place.store;
    let mut reader = Owner::first(store).await;
    let mut batch = reader.batch();
    dead_letter(&mut batch, 3, None);
    dead_letter(&mut batch, 4, None);
    reader.commit(batch).await.expect("it is committed");
    let mut home = Owner::of(store, Lane(1)).await;
    let names = [letter(0, 2), letter(0, 1)];
    let found = store.letters(AskedLetters::Named(&names)).await.expect("letters");
    assert_eq!(found.iter().map(|stored| stored.offset).collect::<Vec<_>>(), [4, 3]);
    let release = |number, fate| ReleasedRow { letter: letter(0, number), fate };
    let mut batch = home.batch();
    batch.released = vec![release(1, Fate::Applied)];
    home.commit(batch).await.expect("it is committed");
    let mut batch = reader.batch();
    batch.released = vec![release(2, Fate::Discarded)];
    reader.commit(batch).await.expect("it is committed");
    // Whoever comes late looks again: it is no alarm, and nothing is written.
    let mut batch = home.batch();
    batch.released = vec![release(2, Fate::Applied)];
    let late = home.commit(batch).await;
    assert!(matches!(late, Err(CommitError::Fenced)), "{late:?}");
    assert_eq!(place.count("dead_letters WHERE fate = 'discarded'").await, 1);
    assert_eq!(place.count("lanes WHERE lane = 1 AND batch = 1").await, 1);
}
