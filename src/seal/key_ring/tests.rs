//! Everybody gets the same key for the same user, and only with the right key file.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Barrier;

use super::*;
use crate::seal::Algorithm;
use crate::seal::file_encryption::{FileEncryption, unwrap, wrap};
use crate::seal::key_encryption::KeyEncryption;
use crate::seal::key_file::KeyFile;
use crate::seal::memory::MemoryKeys;

const A: &str = "kek-a AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const B: &str = "kek-b AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn keks(lines: &[&str]) -> KeyFile {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    std::fs::write(&path, lines.join("\n")).expect("a file");
    KeyFile::read(Path::new(&path)).expect("a key file")
}

fn encryptions(lines: &[&str]) -> KeyEncryptions {
    let file = FileEncryption::new(keks(lines), Algorithm::default());
    KeyEncryptions::new(Arc::new(file), None)
}

fn ring(store: &Arc<MemoryKeys>, lines: &[&str]) -> StoredKeyRing {
    StoredKeyRing::new(Arc::clone(store) as Arc<dyn WrappedKeys>, encryptions(lines))
}

async fn bytes_of(ring: &StoredKeyRing, users: &[i64]) -> Vec<[u8; 32]> {
    let users: Vec<UserNumber> = users.iter().copied().map(UserNumber).collect();
    let keys = ring.keys_of(&users).await.expect("the keys are there");
    keys.iter().map(|key| *key.as_ref().expect("not destroyed").expose()).collect()
}

async fn problem(ring: &StoredKeyRing, user: i64) -> String {
    let error = ring.keys_of(&[UserNumber(user)]).await.expect_err("no key");
    error.to_string()
}

#[tokio::test]
async fn keys_come_in_the_order_asked_for_and_each_user_has_one_of_their_own() {
    let store = Arc::default();
    let first = ring(&store, &[A]);
    let keys = bytes_of(&first, &[9, -3, 9, 5]).await;
    assert_eq!(keys[0], keys[2]);
    assert!(keys[0] != keys[1] && keys[1] != keys[3] && keys[3] != keys[0]);
    assert_eq!(bytes_of(&ring(&store, &[A]), &[5, 9, -3]).await, [keys[3], keys[0], keys[1]]);
    assert!(bytes_of(&first, &[]).await.is_empty());
}

#[tokio::test]
async fn the_service_has_a_key_of_its_own_and_asks_for_it_once() {
    let store: Arc<MemoryKeys> = Arc::default();
    let ring_ = ring(&store, &[A]);
    let service = *ring_.service_key().await.expect("a key").expose();
    assert_eq!(bytes_of(&ring(&store, &[A]), &[0]).await, [service]);
    assert_ne!(bytes_of(&ring_, &[1]).await, [service]);
    store.with(|kept| kept.clear());
    assert_eq!(*ring_.service_key().await.expect("it is remembered").expose(), service);
}

#[tokio::test]
async fn thousands_of_users_take_two_queries_and_then_one() {
    #[derive(Default)]
    struct Counting(MemoryKeys, AtomicUsize);
    #[async_trait]
    impl WrappedKeys for Counting {
        async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            assert!(users.is_sorted_by(|a, b| a < b), "sorted and distinct");
            self.0.keys(users).await
        }
        async fn keep(&self, new: &[WrappedKey]) -> Result<usize, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.keep(new).await
        }
        async fn keep_next(&self, new: &[WrappedKey]) -> Result<usize, String> {
            self.0.keep_next(new).await
        }
        async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), String> {
            self.0.destroy(user, upto).await
        }
        async fn destroyed(&self) -> Result<Vec<UserNumber>, String> {
            self.0.destroyed().await
        }
    }
    let store: Arc<Counting> = Arc::default();
    let ring = StoredKeyRing::new(Arc::clone(&store) as Arc<dyn WrappedKeys>, encryptions(&[A]));
    let users: Vec<i64> = (1..=3_000).rev().collect();
    let keys = bytes_of(&ring, &users).await;
    assert_eq!(store.1.swap(0, Ordering::Relaxed), 2);
    assert_eq!(bytes_of(&ring, &users).await, keys);
    assert_eq!(store.1.swap(0, Ordering::Relaxed), 1);
    let new: Vec<UserNumber> = (3_001..=6_000).map(UserNumber).collect();
    let keys = ring.first_keys_of(&new).await.expect("keys");
    assert_eq!((store.1.load(Ordering::Relaxed), keys.len()), (1, 3_000), "nothing is looked for");
    assert!(ring.first_keys_of(&[]).await.expect("none").is_empty());
    assert_eq!(store.1.load(Ordering::Relaxed), 1, "nor is anything kept for nobody");
}

#[tokio::test]
async fn a_first_key_that_an_owner_left_behind_when_it_died_is_the_first_key() {
    let store = Arc::default();
    let [left] = bytes_of(&ring(&store, &[A]), &[2]).await.try_into().expect("one");
    let after = ring(&store, &[A]);
    let numbers = [1, 2, 3].map(UserNumber);
    let keys = after.first_keys_of(&numbers).await.expect("keys");
    let keys: Vec<[u8; 32]> = keys.into_iter().flatten().map(|key| *key.expose()).collect();
    assert_eq!(keys[1], left);
    assert_eq!(bytes_of(&after, &[1, 2, 3]).await, keys);
}

#[tokio::test]
async fn a_number_whose_keys_were_destroyed_gets_no_first_key() {
    let store = Arc::default();
    let before = ring(&store, &[A]);
    bytes_of(&before, &[2]).await;
    before.destroy(UserNumber(2), 1).await.expect("destroyed");
    let keys = before.first_keys_of(&[1, 2, 3].map(UserNumber)).await.expect("keys");
    assert_eq!(keys.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn two_who_make_a_key_at_once_end_with_the_same() {
    /// Lets nobody keep a key before both have seen that there is none.
    struct Racing(MemoryKeys, Barrier);
    #[async_trait]
    impl WrappedKeys for Racing {
        async fn keys(&self, users: &[UserNumber]) -> Result<Vec<WrappedKey>, String> {
            self.0.keys(users).await
        }
        async fn keep(&self, new: &[WrappedKey]) -> Result<usize, String> {
            self.1.wait().await;
            self.0.keep(new).await
        }
        async fn keep_next(&self, new: &[WrappedKey]) -> Result<usize, String> {
            self.0.keep_next(new).await
        }
        async fn destroy(&self, user: UserNumber, upto: u32) -> Result<(), String> {
            self.0.destroy(user, upto).await
        }
        async fn destroyed(&self) -> Result<Vec<UserNumber>, String> {
            self.0.destroyed().await
        }
    }
    let store = Arc::new(Racing(MemoryKeys::default(), Barrier::new(2)));
    let ring = || StoredKeyRing::new(Arc::clone(&store) as Arc<dyn WrappedKeys>, encryptions(&[A]));
    let (one, two) = (ring(), ring());
    // They overlap in one user only, and each must get the others' too.
    let (first, second) = tokio::join!(bytes_of(&one, &[1, 2]), bytes_of(&two, &[2, 3]));
    assert_eq!(first[1], second[0]);
    assert_eq!(bytes_of(&one, &[1, 2, 3]).await, [first[0], first[1], second[1]]);
}

#[tokio::test]
async fn the_newest_key_of_a_user_is_given_with_those_before_it() {
    let store: Arc<MemoryKeys> = Arc::default();
    let file = keks(&[A]);
    for (number, byte) in [(2, 22), (10, 110), (9, 99)] {
        let key = DataKey::new(&[byte; 32], number);
        let key = wrap(Algorithm::default(), file.active(), UserNumber(1), &key).expect("wrapped");
        store.keep(&[key]).await.expect("kept");
    }
    let keys = ring(&store, &[A]).keys_of(&[UserNumber(1)]).await.expect("a key");
    let key = keys[0].as_ref().expect("not destroyed");
    assert_eq!((key.number(), key.expose()), (10, &[110; 32]));
    for (number, byte) in [(2, 22), (9, 99), (10, 110)] {
        let older = key.numbered(number).expect("it is at hand");
        assert_eq!((older.number(), older.expose()), (number, &[byte; 32]));
    }
    assert!(key.numbered(3).is_none());
}

#[tokio::test]
async fn a_replaced_key_encryption_key_still_unwraps_and_the_new_one_wraps() {
    let store: Arc<MemoryKeys> = Arc::default();
    let before = bytes_of(&ring(&store, &[A]), &[1]).await;
    let both = ring(&store, &[B, A]);
    assert_eq!(bytes_of(&both, &[1]).await, before);
    bytes_of(&both, &[2]).await;
    let names: Vec<String> =
        store.with(|kept| kept.values().map(|key| key.wrapped_by.clone()).collect());
    assert_eq!(names, ["kek-a", "kek-b"]);
    let without = problem(&ring(&store, &[B]), 1).await;
    assert!(
        without.contains("wrapped by \"kek-a\", which the key file does not have"),
        "{without}"
    );
}

#[tokio::test]
async fn of_two_places_one_wraps_and_each_unwraps_what_it_has_wrapped() {
    let store: Arc<MemoryKeys> = Arc::default();
    let place = |line| Arc::new(FileEncryption::new(keks(&[line]), Algorithm::default()));
    let both = |wraps, other| {
        let encryptions = KeyEncryptions::new(place(wraps), Some(place(other)));
        StoredKeyRing::new(Arc::clone(&store) as Arc<dyn WrappedKeys>, encryptions)
    };
    let before = bytes_of(&ring(&store, &[A]), &[1, 3]).await;
    let after = bytes_of(&both(B, A), &[1, 2, 3]).await;
    assert_eq!([after[0], after[2]], before[..]);
    let back = both(A, B);
    assert_eq!(bytes_of(&back, &[3, 2, 1]).await, [after[2], after[1], after[0]]);
    let mut kept: Vec<WrappedKey> = store.with(|kept| kept.values().cloned().collect());
    let names: Vec<&str> = kept.iter().map(|key| key.wrapped_by.as_str()).collect();
    assert_eq!(names, ["kek-a", "kek-b", "kek-a"]);
    // One of neither keeps no other from being wrapped anew.
    kept.insert(1, WrappedKey { wrapped_by: "kek-c".to_owned(), ..kept[0].clone() });
    let anew = back.rewrap(&kept).await.expect("an answer");
    let users = anew.iter().map(|key| key.as_ref().ok().map(|key| key.user.0));
    assert_eq!(users.collect::<Vec<_>>(), [Some(1), None, Some(2), Some(3)]);
    assert!(anew.iter().flatten().all(|key| key.wrapped_by == "kek-a"));
}

#[tokio::test]
async fn what_does_not_come_back_takes_no_keys_place() {
    /// Wraps what it is given, but each for the owner of another.
    #[derive(Debug)]
    struct Confused(FileEncryption);
    #[async_trait]
    impl KeyEncryption for Confused {
        async fn active(&self) -> Result<String, KeysAway> {
            self.0.active().await
        }
        fn names(&self) -> Vec<&str> {
            self.0.names()
        }
        fn has(&self, name: &str) -> bool {
            self.0.has(name)
        }
        async fn wrap(&self, keys: &[(UserNumber, DataKey)]) -> Result<Vec<WrappedKey>, KeysAway> {
            let moved = keys.iter().cycle().skip(1);
            let confused = keys.iter().zip(moved).map(|((user, key), (_, other))| {
                (*user, DataKey::new(other.expose(), key.number()))
            });
            self.0.wrap(&confused.collect::<Vec<_>>()).await
        }
        async fn unwrap(
            &self,
            wrapped: &[&WrappedKey],
        ) -> Result<Vec<Result<DataKey, KeysAway>>, KeysAway> {
            self.0.unwrap(wrapped).await
        }
        async fn check(&self) -> Result<(), KeysAway> {
            Ok(())
        }
    }
    let store: Arc<MemoryKeys> = Arc::default();
    bytes_of(&ring(&store, &[A]), &[1, 2]).await;
    let file = |line| FileEncryption::new(keks(&[line]), Algorithm::default());
    let (confused, other) = (Arc::new(Confused(file(B))), Arc::new(file(A)));
    let encryptions = KeyEncryptions::new(confused, Some(other));
    let ring = StoredKeyRing::new(Arc::clone(&store) as Arc<dyn WrappedKeys>, encryptions);
    let kept: Vec<WrappedKey> = store.with(|kept| kept.values().cloned().collect());
    for (user, anew) in (1..).zip(ring.rewrap(&kept).await.expect("an answer")) {
        let told = anew.expect_err("it is not the same key").to_string();
        let wanted = format!("key 1 of user number {user} does not come back from kek-b");
        assert!(told.contains(&wanted), "{told}");
    }
}

#[tokio::test]
async fn another_key_under_the_same_name_unwraps_nothing() {
    let store: Arc<MemoryKeys> = Arc::default();
    bytes_of(&ring(&store, &[A]), &[7]).await;
    let renamed = B.replace("kek-b", "kek-a");
    let shown = problem(&ring(&store, &[&renamed]), 7).await;
    assert!(shown.contains("key 1 of user number 7 does not unwrap"), "{shown}");
}

#[tokio::test]
async fn a_wrapped_key_unwraps_for_its_owner_number_and_wrapper_only() {
    let (file, key) = (keks(&[A, B]), [5; 32]);
    let made = DataKey::new(&key, 1);
    let wrapped = wrap(Algorithm::default(), file.active(), UserNumber(1), &made).expect("wrapped");
    assert_eq!(wrapped.encrypted_key.len(), 66);
    assert!(!wrapped.encrypted_key.windows(4).any(|window| window == [5; 4]));
    assert_eq!(unwrap(file.active(), &wrapped).expect("it unwraps").expose(), &key);
    let wrong = [
        WrappedKey { user: UserNumber(2), ..wrapped.clone() },
        WrappedKey { key_number: 2, ..wrapped.clone() },
        WrappedKey { encrypted_key: wrapped.encrypted_key[..65].to_vec(), ..wrapped.clone() },
        WrappedKey { encrypted_key: Vec::new(), ..wrapped.clone() },
    ];
    for wrong in &wrong {
        assert!(unwrap(file.active(), wrong).is_none(), "{wrong:?}");
    }
    // The same bytes under another name: the name is bound as well.
    let renamed = keks(&[&A.replace("kek-a", "kek-c")]);
    assert!(unwrap(renamed.active(), &wrapped).is_none());
}

#[tokio::test]
async fn a_store_that_is_away_or_forgets_is_told() {
    struct Away;
    #[async_trait]
    impl WrappedKeys for Away {
        async fn keys(&self, _: &[UserNumber]) -> Result<Vec<WrappedKey>, String> {
            Err("no route to host".to_owned())
        }
        async fn keep(&self, _: &[WrappedKey]) -> Result<usize, String> {
            Ok(0)
        }
        async fn keep_next(&self, _: &[WrappedKey]) -> Result<usize, String> {
            Ok(0)
        }
        async fn destroy(&self, _: UserNumber, _: u32) -> Result<(), String> {
            Ok(())
        }
        async fn destroyed(&self) -> Result<Vec<UserNumber>, String> {
            Ok(Vec::new())
        }
    }
    struct Forgetful;
    #[async_trait]
    impl WrappedKeys for Forgetful {
        async fn keys(&self, _: &[UserNumber]) -> Result<Vec<WrappedKey>, String> {
            Ok(Vec::new())
        }
        async fn keep(&self, _: &[WrappedKey]) -> Result<usize, String> {
            Ok(0)
        }
        async fn keep_next(&self, _: &[WrappedKey]) -> Result<usize, String> {
            Ok(0)
        }
        async fn destroy(&self, _: UserNumber, _: u32) -> Result<(), String> {
            Ok(())
        }
        async fn destroyed(&self) -> Result<Vec<UserNumber>, String> {
            Ok(Vec::new())
        }
    }
    let away = StoredKeyRing::new(Arc::new(Away), encryptions(&[A]));
    assert_eq!(problem(&away, 1).await, "the key store is away: no route to host");
    assert!(away.service_key().await.is_err());
    let forgetful = StoredKeyRing::new(Arc::new(Forgetful), encryptions(&[A]));
    assert_eq!(problem(&forgetful, 1).await, "the key store does not keep the keys given to it");
}

#[tokio::test]
async fn a_rotated_key_is_a_new_one_and_is_made_once() {
    let store: Arc<MemoryKeys> = Arc::default();
    let (one, two) = (ring(&store, &[A]), ring(&store, &[A]));
    let before = bytes_of(&one, &[1, 2]).await;
    assert_eq!(one.rotate(&[(UserNumber(1), 1)]).await.expect("made"), 1);
    assert_eq!(two.rotate(&[(UserNumber(1), 1)]).await.expect("made already"), 0);
    let after = bytes_of(&two, &[1, 2]).await;
    assert!(after[0] != before[0] && after[1] == before[1]);
    let key = two.keys_of(&[UserNumber(1)]).await.expect("keys").remove(0).expect("a key");
    assert_eq!(key.numbered(1).map(|key| *key.expose()), Some(before[0]));
}

#[tokio::test]
async fn a_rotated_key_of_the_service_is_met_by_whoever_asks_anew() {
    let store: Arc<MemoryKeys> = Arc::default();
    let (one, two) = (ring(&store, &[A]), ring(&store, &[A]));
    let first = *one.service_key().await.expect("a key").expose();
    two.renew(SERVICE).await.expect("made");
    assert_eq!(*one.service_key().await.expect("remembered").expose(), first);
    assert_eq!(one.newest_service_key().await.expect("a key").number(), 2);
    assert_eq!(one.service_key().await.expect("remembered").number(), 2);
}

#[tokio::test]
async fn a_destroyed_key_stays_destroyed_until_a_new_one_is_asked_for() {
    let store: Arc<MemoryKeys> = Arc::default();
    let ring = ring(&store, &[A]);
    let before = bytes_of(&ring, &[1, 2]).await;
    ring.renew(UserNumber(1)).await.expect("made");
    ring.destroy(UserNumber(1), 2).await.expect("destroyed");
    let keys = ring.keys_of(&[1, 2].map(UserNumber)).await.expect("an answer");
    assert!(keys[0].is_none(), "nor is another made");
    assert_eq!(keys[1].as_ref().map(|key| *key.expose()), Some(before[1]));
    assert_eq!(ring.destroyed().await.expect("users"), [UserNumber(1)]);
    ring.renew(UserNumber(1)).await.expect("made");
    let key = ring.keys_of(&[UserNumber(1)]).await.expect("keys").remove(0).expect("a key");
    assert_eq!((key.number(), key.numbered(1).is_none()), (3, true), "no number comes again");
    assert!(ring.destroyed().await.expect("users").is_empty());
}

#[tokio::test]
async fn a_rotation_that_comes_too_late_makes_no_key_of_somebody_who_is_erased() {
    let store: Arc<MemoryKeys> = Arc::default();
    let ring = ring(&store, &[A]);
    bytes_of(&ring, &[1]).await;
    ring.destroy(UserNumber(1), 1).await.expect("destroyed");
    assert_eq!(ring.rotate(&[(UserNumber(1), 1)]).await.expect("an answer"), 0);
    assert_eq!(ring.destroyed().await.expect("users"), [UserNumber(1)]);
}

#[tokio::test]
async fn nothing_of_a_key_is_in_debug() {
    let store: Arc<MemoryKeys> = Arc::default();
    let ring = ring(&store, &[A]);
    bytes_of(&ring, &[1]).await;
    assert_eq!(
        format!("{ring:?}"),
        "StoredKeyRing { encryptions: KeyEncryptions { wraps: FileEncryption { keys: [\"kek-a\"], algorithm: Aes256Gcm }, other: None }, .. }"
    );
}
