//! Old records go once a base holds them that opens, whatever became of the checkpoint and of bases before.

use std::sync::Arc;

use actors::lane::UserNumber;
use actors::person::Person;
use actors::phi::Phi;
use actors::places::{checkpoint_place, record_place};
use actors::restore::Restorer;
use actors::rows::{BaseRow, Erasure, ErasureRow};
use actors::seal::{DataKey, KeyRing, KeysAway, Seal as _, UserTag};
use actors::store::{Asked, Begin, Store as _, StoredUser};
use async_trait::async_trait;
use biometric_bridge::retention::{Gone, Retention};
use biometric_bridge::seal::Sealer;
use biometric_bridge::store::{Options, Span, Upto, open};
use neuros::time::{Micros, Timestamp};
use neuros::wire::{Headers, Intake, Message, decode};
use neuros::{ENGINE_VERSION, Policy};
use tokio_util::sync::CancellationToken;

use super::batches::{Owner, START, record, user_row};
use super::facts;
use super::places::Place;

facts!(
    old_records_go_with_a_base_and_newer_ones_stay,
    no_checkpoint_is_a_base_that_does_not_open,
    the_records_of_a_user_without_a_base_stay,
    a_base_that_does_not_open_is_made_anew_before_more_records_go,
    a_base_goes_when_no_record_leads_on_from_it,
    bases_come_with_batches_and_go_once_newer_ones_hold_all_that_is_old,
    a_state_is_compared_from_before_its_newest_base,
    the_way_back_begins_at_the_first_base_behind,
    a_stretch_has_about_as_many_records_as_asked_for,
    one_process_at_a_time_has_its_turn,
    records_of_somebody_who_was_erased_go_without_a_base,
);

/// Everybody's key.
struct OneKey;

#[async_trait]
impl KeyRing for OneKey {
    fn tag_of(&self, _: &str) -> UserTag {
        UserTag([0; 8])
    }

    async fn keys_of(&self, users: &[UserNumber]) -> Result<Vec<Option<DataKey>>, KeysAway> {
        Ok(users.iter().map(|_| Some(key())).collect())
    }

    async fn service_key(&self) -> Result<DataKey, KeysAway> {
        Ok(key())
    }

    async fn newest_number(&self, _: UserNumber) -> Result<Option<u32>, KeysAway> {
        Ok(Some(1))
    }

    async fn renew(&self, _: UserNumber) -> Result<(), KeysAway> {
        Err(KeysAway("there is one key for all".to_owned()))
    }

    async fn destroy(&self, _: UserNumber, _: u32) -> Result<(), KeysAway> {
        Err(KeysAway("there is one key for all".to_owned()))
    }

    async fn destroyed(&self) -> Result<Vec<UserNumber>, KeysAway> {
        Ok(Vec::new())
    }
}

fn key() -> DataKey {
    DataKey::new(&[7; 32], 1)
}

fn cipher() -> Sealer {
    Sealer::new(Default::default()).expect("the system gives randomness")
}

/// Someone whose events come, one a second.
struct Wearer {
    id: &'static str,
    user: Option<UserNumber>,
    person: Person,
}

impl Wearer {
    fn of(id: &'static str) -> Self {
        Self { id, user: None, person: Person::default() }
    }

    /// So many more records, each in a batch of its own with the checkpoint after it.
    async fn wear(&mut self, owner: &mut Owner, policy: i32, count: i64) {
        for _ in 0..count {
            let number = self.person.record_number + 1;
            let value = format!(
                r#"{{"user_id":"{}","device_id":"d","event_type":"heart_rate",
                    "timestamp":{},"metrics":{{"heart_rate":{}}}}}"#,
                self.id,
                START / 1_000_000 + number,
                60 + number
            );
            let message = Message {
                value: value.as_bytes(),
                headers: Headers::default(),
                record_time: Some(Timestamp::from_micros(START + number * 1_000_000)),
            };
            let decoded = decode(&message, &Intake::default()).expect("a record");
            let mut stored = Vec::new();
            decoded.to_stored(&mut stored);
            self.person.replay(&Policy::default(), &decoded, &mut Vec::new());
            let mut batch = owner.batch();
            let user = *self.user.get_or_insert_with(|| batch.after.number_user(owner.lane));
            let stored = Phi::new(stored);
            let body = cipher().seal(&key(), record_place(user, number), &stored);
            batch.records.push(actors::rows::RecordRow {
                policy,
                engine: ENGINE_VERSION.cast_signed(),
                body,
                ..record(user, number, 0)
            });
            let bytes = Phi::new(self.person.state.as_ref().expect("a state").to_checkpoint());
            let checkpoint = cipher().seal(&key(), checkpoint_place(user, number), &bytes);
            batch.users.push(actors::rows::UserRow {
                message_number: self.person.message_number,
                checkpoint: Some(checkpoint),
                ..user_row(user, self.id, number, number == 1)
            });
            owner.commit(batch).await.expect("it is committed");
        }
    }

    async fn stored(&self, place: &Place) -> StoredUser {
        let found = place.store.users(Asked::Ids(&[self.id])).await.expect("an answer");
        found.into_iter().next().expect("the user is known")
    }

    /// The state is what all records led to, also when there is no checkpoint.
    async fn is_whole(&self, place: &Place) {
        let restorer =
            Restorer::new(Arc::clone(&place.store) as _, Arc::new(cipher()), Arc::new(OneKey));
        let mut stored = self.stored(place).await;
        for _ in 0..2 {
            let restored = restorer.person(&stored, &key()).await;
            let (person, _) = restored.unwrap_or_else(|error| panic!("{}: {error}", self.id));
            assert_eq!(person.record_number, self.person.record_number, "{}", self.id);
            assert_eq!(person.message_number, self.person.message_number, "{}", self.id);
            let bytes = |person: &Person| person.state.as_ref().map(|state| state.to_checkpoint());
            assert_eq!(bytes(&person), bytes(&self.person), "{}", self.id);
            stored.checkpoint = None;
        }
    }

    /// Numbers of the bases, the newest first.
    async fn bases(&self, place: &Place) -> Vec<i64> {
        let user = self.user.expect("there were records");
        let bases = place.store.bases(user, i64::MAX).await.expect("an answer");
        bases.iter().map(|base| base.record_number).collect()
    }

    async fn records(&self, place: &Place) -> i64 {
        let user = self.user.expect("there were records").0;
        place.count(&format!("event_records WHERE user_number = {user}")).await
    }
}

/// A store with a policy, and lane 0's owner.
async fn beginning(place: &Place) -> (Owner, i32) {
    let policy = Policy::default();
    let kept = place.store.keep_policy(&policy.version, &policy.to_yaml()).await;
    (Owner::first(&place.store).await, kept.expect("a policy"))
}

/// Looks after old records: those of batches up to `batch` are.
async fn tidy(place: &Place, batch: i64) -> Gone {
    let retention = Retention::new(Arc::clone(&place.store), Arc::new(OneKey), Arc::new(cipher()));
    let horizon = Timestamp::from_micros(START + batch * 1_000_000 + 1);
    let stop = CancellationToken::new();
    retention.drop_before(horizon, true, &stop).await.expect("the store answers")
}

/// What no cipher ever wrote.
fn spoilt(place: &Place) -> &'static str {
    if place.is_postgres() { "'\\x00ff'" } else { "X'00ff'" }
}

async fn spoil_checkpoint(place: &Place, wearer: &Wearer) {
    let (bytes, id) = (spoilt(place), wearer.id);
    place.run(&format!("UPDATE users SET checkpoint = {bytes} WHERE user_id = '{id}'")).await;
}

async fn spoil_base(place: &Place, wearer: &Wearer, number: i64) {
    let (bytes, user) = (spoilt(place), wearer.user.expect("a user").0);
    let of = format!("user_number = {user} AND record_number = {number}");
    assert_eq!(place.count(&format!("base_checkpoints WHERE {of}")).await, 1);
    place.run(&format!("UPDATE base_checkpoints SET body = {bytes} WHERE {of}")).await;
}

async fn old_records_go_with_a_base_and_newer_ones_stay(place: Place) {
    let (mut owner, policy) = beginning(&place).await;
    let mut wearer = Wearer::of("u1");
    wearer.wear(&mut owner, policy, 5).await;
    let gone = tidy(&place, 3).await;
    assert_eq!(gone, Gone { bases: 1, records: 3, chunks: 0, unheld: 0 });
    assert_eq!((wearer.records(&place).await, wearer.bases(&place).await), (2, vec![5]));
    wearer.is_whole(&place).await;
    assert_eq!(tidy(&place, 4).await, Gone { records: 1, ..Gone::default() }, "the base is there");
    assert_eq!(tidy(&place, 4).await, Gone::default());
    wearer.wear(&mut owner, policy, 2).await;
    wearer.is_whole(&place).await;
}

async fn records_of_somebody_who_was_erased_go_without_a_base(place: Place) {
    let (mut owner, policy) = beginning(&place).await;
    let (mut wearer, mut other) = (Wearer::of("u1"), Wearer::of("u2"));
    wearer.wear(&mut owner, policy, 3).await;
    other.wear(&mut owner, policy, 1).await;
    let mut batch = owner.batch();
    let user = wearer.user.expect("a user");
    let change = Erasure::Begins { record_number: 3, newest: None, key_number: 1 };
    batch.erasures.push(ErasureRow { user, change });
    owner.commit(batch).await.expect("it is committed");
    let gone = tidy(&place, 5).await;
    assert_eq!(gone, Gone { bases: 1, records: 4, chunks: 0, unheld: 0 });
    assert!(wearer.bases(&place).await.is_empty());
    other.is_whole(&place).await;
}

async fn no_checkpoint_is_a_base_that_does_not_open(place: Place) {
    let (mut owner, policy) = beginning(&place).await;
    let mut wearers = [Wearer::of("whole"), Wearer::of("deleted"), Wearer::of("spoilt")];
    for wearer in &mut wearers {
        wearer.wear(&mut owner, policy, 4).await;
    }
    place.run("DELETE FROM neuros_checkpoints WHERE thread_id = 'deleted'").await;
    spoil_checkpoint(&place, &wearers[2]).await;
    let gone = tidy(&place, 12).await;
    assert_eq!(gone, Gone { bases: 3, records: 12, chunks: 0, unheld: 0 });
    for wearer in &mut wearers {
        assert_eq!(wearer.bases(&place).await, [4], "{}", wearer.id);
        wearer.is_whole(&place).await;
        wearer.wear(&mut owner, policy, 1).await;
        wearer.is_whole(&place).await;
    }
}

async fn the_records_of_a_user_without_a_base_stay(place: Place) {
    let (mut owner, policy) = beginning(&place).await;
    let (mut lost, mut other) = (Wearer::of("lost"), Wearer::of("other"));
    lost.wear(&mut owner, policy, 4).await;
    other.wear(&mut owner, policy, 4).await;
    let checkpoint = lost.stored(&place).await.checkpoint.expect("a checkpoint");
    spoil_checkpoint(&place, &lost).await;
    let (bytes, user) = (spoilt(&place), lost.user.expect("a user").0);
    let second = format!("user_number = {user} AND number = 2");
    place.run(&format!("UPDATE event_records SET body = {bytes} WHERE {second}")).await;
    for (bases, records) in [(1, 4), (0, 0)] {
        let gone = tidy(&place, 8).await;
        assert_eq!(gone, Gone { bases, records, chunks: 0, unheld: 1 });
        assert_eq!((lost.records(&place).await, lost.bases(&place).await), (4, Vec::new()));
    }
    other.is_whole(&place).await;
    // The checkpoint comes back, as from a backup.
    let hex: String = checkpoint.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = if place.is_postgres() { format!("'\\x{hex}'") } else { format!("X'{hex}'") };
    place.run(&format!("UPDATE users SET checkpoint = {bytes} WHERE user_id = 'lost'")).await;
    assert_eq!(tidy(&place, 8).await, Gone { bases: 1, records: 4, chunks: 0, unheld: 0 });
    lost.is_whole(&place).await;
}

async fn a_base_that_does_not_open_is_made_anew_before_more_records_go(place: Place) {
    let (mut owner, policy) = beginning(&place).await;
    let mut wearer = Wearer::of("u1");
    wearer.wear(&mut owner, policy, 5).await;
    tidy(&place, 3).await;
    spoil_base(&place, &wearer, 5).await;
    assert_eq!(tidy(&place, 4).await, Gone { bases: 1, records: 1, chunks: 0, unheld: 0 });
    assert_eq!(wearer.bases(&place).await, [5]);
    wearer.is_whole(&place).await;
    // Neither of the two opens: nothing goes that would be needed once one of them is back.
    spoil_base(&place, &wearer, 5).await;
    spoil_checkpoint(&place, &wearer).await;
    assert_eq!(tidy(&place, 5).await, Gone { unheld: 1, ..Gone::default() });
    assert_eq!(wearer.records(&place).await, 1);
}

async fn a_base_goes_when_no_record_leads_on_from_it(place: Place) {
    let (mut owner, policy) = beginning(&place).await;
    let mut wearer = Wearer::of("u1");
    wearer.wear(&mut owner, policy, 3).await;
    tidy(&place, 2).await;
    wearer.wear(&mut owner, policy, 3).await;
    tidy(&place, 4).await;
    assert_eq!(wearer.bases(&place).await, [6, 3], "the newer one holds what is not old yet");
    wearer.is_whole(&place).await;
    tidy(&place, 5).await;
    assert_eq!(wearer.bases(&place).await, [6, 3]);
    tidy(&place, 6).await;
    assert_eq!((wearer.records(&place).await, wearer.bases(&place).await), (0, vec![6]));
    wearer.is_whole(&place).await;
}

/// A batch with a base of the wearer as they are.
async fn keep_base(owner: &mut Owner, wearer: &Wearer) {
    let user = wearer.user.expect("there were records");
    let record_number = wearer.person.record_number;
    let bytes = Phi::new(wearer.person.state.as_ref().expect("a state").to_checkpoint());
    let mut batch = owner.batch();
    batch.bases.push(BaseRow {
        user,
        record_number,
        message_number: wearer.person.message_number,
        newest: owner.places[&(user, record_number)],
        body: cipher().seal(&key(), checkpoint_place(user, record_number), &bytes),
    });
    owner.commit(batch).await.expect("it is committed");
}

/// Batches: 1 to 3 have records, 4 a base of record 3, 5 and 6 records, 7 a base of record 5, 8 and 9 records.
async fn wear_with_bases(place: &Place) -> (Owner, Wearer) {
    let (mut owner, policy) = beginning(place).await;
    let mut wearer = Wearer::of("u1");
    for count in [3, 2] {
        wearer.wear(&mut owner, policy, count).await;
        keep_base(&mut owner, &wearer).await;
    }
    wearer.wear(&mut owner, policy, 2).await;
    (owner, wearer)
}

async fn bases_come_with_batches_and_go_once_newer_ones_hold_all_that_is_old(place: Place) {
    let (_, wearer) = wear_with_bases(&place).await;
    assert_eq!(wearer.bases(&place).await, [5, 3]);
    wearer.is_whole(&place).await;
    assert_eq!(tidy(&place, 3).await, Gone { records: 3, ..Gone::default() }, "a base is there");
    assert_eq!(wearer.bases(&place).await, [5, 3], "records lead on from the older one");
    wearer.is_whole(&place).await;
    assert_eq!(tidy(&place, 6).await, Gone { records: 2, ..Gone::default() });
    assert_eq!(wearer.bases(&place).await, [5]);
    wearer.is_whole(&place).await;
    assert_eq!(tidy(&place, 7).await, Gone::default());
    assert_eq!((wearer.records(&place).await, wearer.bases(&place).await), (2, vec![5]));
    assert_eq!(tidy(&place, 8).await, Gone { bases: 1, records: 1, ..Gone::default() });
    assert_eq!(wearer.bases(&place).await, [7, 5]);
    wearer.is_whole(&place).await;
}

/// What is wrong in the newest base too shows to whoever begins in front of it.
async fn a_state_is_compared_from_before_its_newest_base(place: Place) {
    let (_, wearer) = wear_with_bases(&place).await;
    let restorer =
        Restorer::new(Arc::clone(&place.store) as _, Arc::new(cipher()), Arc::new(OneKey));
    spoil_base(&place, &wearer, 5).await;
    let stored = wearer.stored(&place).await;
    let compared = restorer.compare(&stored, &key()).await.expect("the newest base is not needed");
    let bytes = |person: &Person| person.state.as_ref().map(|state| state.to_checkpoint());
    assert_eq!(bytes(&compared.rebuilt), bytes(&wearer.person));
    // Records that lead on from the one before it are gone: then it is.
    let user = stored.user.0;
    place
        .run(&format!("DELETE FROM event_records WHERE user_number = {user} AND number < 6"))
        .await;
    let compared = restorer.compare(&stored, &key()).await;
    assert!(compared.is_err(), "neither leads to the state");
}

async fn the_way_back_begins_at_the_first_base_behind(place: Place) {
    let (_, wearer) = wear_with_bases(&place).await;
    let user = wearer.user.expect("a user");
    let nearest = async |number| {
        let found = place.store.nearest_behind(user, number).await.expect("an answer");
        found.expect("a record").number
    };
    let behind = [1, 3, 4, 5, 6, 7, i64::MAX];
    let mut found = Vec::new();
    for number in behind {
        found.push(nearest(number).await);
    }
    assert_eq!(found, [3, 3, 5, 5, 7, 7, 7]);
    // Records 3 and 5 are of batches 3 and 6.
    let after = async |batch: i64| {
        let time = Timestamp::from_micros(START + batch * 1_000_000);
        let found = place.store.based_after(user, time).await.expect("an answer");
        found.map(|found| found.number)
    };
    assert_eq!([after(2).await, after(3).await, after(6).await], [Some(3), Some(5), None]);
    // The places lead on: what is there is found from each.
    for upto in 1..=7 {
        let back = place.store.places_back(user, Begin::Newest { upto }, 0).await;
        let numbers: Vec<i64> = back.expect("an answer").iter().map(|it| it.number).collect();
        assert_eq!(numbers, (1..=upto).rev().collect::<Vec<_>>());
    }
}

async fn a_stretch_has_about_as_many_records_as_asked_for(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let store = &place.store;
    let first = owner.with_user("u1").await;
    let second = owner.with_user("u2").await;
    let mut batch = owner.batch();
    batch.records.extend((0..3).map(|position| record(first, 2 + i64::from(position), position)));
    owner.commit(batch).await.expect("it is committed");
    let at = |batch: i64| Timestamp::from_micros(START + batch * 1_000_000);
    let (begin, before) = (Timestamp::from_micros(0), at(9));
    let stretch = async |from, count| store.stretch(from, before, count).await.expect("an answer");
    assert_eq!(stretch(begin, 1).await, Span { from: begin, to: at(2) });
    assert_eq!(stretch(at(2), 1).await, Span { from: at(2), to: at(3) });
    assert_eq!(stretch(at(3), 2).await.to, at(3) + Micros(1), "one batch is not parted");
    assert_eq!(stretch(at(3), 3).await.to, before);
    assert_eq!(stretch(begin, 5).await.to, before);
    let span = Span { from: at(1), to: before };
    let users = store.users_with_records(span, UserNumber(0), 9).await.expect("an answer");
    let (first, second) = (Upto { user: first, number: 4 }, Upto { user: second, number: 1 });
    assert_eq!(users, [first, second]);
    let users = store.users_with_records(span, UserNumber(0), 1).await.expect("an answer");
    assert_eq!(users, [first]);
    let users = store.users_with_records(span, first.user, 9).await.expect("an answer");
    assert_eq!(users, [second]);
    assert_eq!(store.drop_records(span, &[]).await.expect("an answer"), 0);
    let held = [Upto { number: 2, ..first }, second];
    assert_eq!(store.drop_records(span, &held).await.expect("an answer"), 3);
    assert_eq!(place.count("event_records WHERE number > 2").await, 2);
}

async fn one_process_at_a_time_has_its_turn(place: Place) {
    let other = open(&place.url, &Options::default()).await.expect("the store opens");
    let turn = place.store.take_turn().await.expect("an answer").expect("nobody has it");
    let taken = other.take_turn().await.expect("an answer");
    assert_eq!(taken.is_none(), place.is_postgres(), "a file of SQLite has one process");
    turn.end().await.expect("it ends");
    let turn = other.take_turn().await.expect("an answer").expect("nobody has it");
    turn.end().await.expect("it ends");
}
