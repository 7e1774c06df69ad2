//! States from the store: opened from checkpoints, and folded on from stored records where those are
//! newer or checkpoints are missing. Without effects: nothing here is sent or written.

mod rebuild;
mod retrace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use neuros::alert::Stored;
use neuros::event::Record;
use neuros::policy::Loaded;
use neuros::{ENGINE_VERSION, Policy};

use crate::chain::Chain;
use crate::lane::UserNumber;
use crate::person::{Person, Reaction};
use crate::phi::Phi;
use crate::places::{checkpoint_place, record_place};
use crate::seal::{DataKey, KeyRing, KeysAway, Place, Seal, Unopened};
use crate::store::{Asked, Start, Store, StoreError, StoredBase, StoredRecord, StoredUser};

pub use retrace::Replayed;

/// Why a state cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store does not answer, or has not what it should have.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys are away.
    #[error(transparent)]
    Keys(#[from] KeysAway),
    /// This user cannot be restored by this release; others can.
    #[error("a user's state cannot be restored: {problem}")]
    Unreadable {
        /// Who.
        user_id: String,
        /// Why; quotes nothing of the state.
        problem: String,
    },
}

/// What is sealed in a stored record.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one record")]
enum Opened<'b> {
    Record(Record<'b>),
    Order(Stored),
}

/// Restores persons, and remembers the policies that it needed.
pub struct Restorer {
    store: Arc<dyn Store>,
    seal: Arc<dyn Seal>,
    keys: Arc<dyn KeyRing>,
    policies: Mutex<Vec<(i32, Arc<Policy>)>>,
}

impl Restorer {
    /// A restorer that knows no policy yet.
    pub fn new(store: Arc<dyn Store>, seal: Arc<dyn Seal>, keys: Arc<dyn KeyRing>) -> Self {
        Self { store, seal, keys, policies: Mutex::default() }
    }

    /// The person whose checkpoint the store has; says with it whether they had to be rebuilt.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn person(
        &self,
        stored: &StoredUser,
        key: &DataKey,
    ) -> Result<(Person, bool), RestoreError> {
        let Start { record_number, .. } = stored.start;
        if stored.record_number == record_number && stored.checkpoint.is_none() {
            return Ok((Person::starting(stored.start), false));
        }
        if let Some(sealed) = &stored.checkpoint {
            match self.open_checkpoint(stored, key, sealed).await? {
                Ok(person) => return Ok((person, false)),
                Err(problem) => {
                    let user = self.keys.tag_of(&stored.user_id);
                    tracing::warn!(%user, %problem, "a checkpoint is rebuilt");
                }
            }
        }
        let person = self.rebuild(stored, key, stored.record_number).await?;
        if person.record_number < stored.record_number {
            return Err(unreadable(stored, "stored records that its checkpoint held are missing"));
        }
        Ok((person, true))
    }

    /// The person in a user's sealed checkpoint, or why this release does not read it.
    ///
    /// # Errors
    ///
    /// When the keys are away; what is wrong with it is the inner error.
    pub(crate) async fn open_checkpoint(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        sealed: &[u8],
    ) -> Result<Result<Person, String>, KeysAway> {
        let numbers = (stored.record_number, stored.message_number);
        let person = self.open_state(stored.user, key, numbers, sealed).await?;
        Ok(person.map(|person| Person { newest: stored.newest, ..person }))
    }

    /// The person that a base holds.
    ///
    /// # Errors
    ///
    /// When the keys are away; the inner error is what is wrong with it, when it does not open or holds no
    /// state that this release reads.
    pub async fn based(
        &self,
        user: UserNumber,
        key: &DataKey,
        base: &StoredBase,
    ) -> Result<Result<Person, String>, KeysAway> {
        let numbers = (base.record_number, base.message_number);
        self.open_state(user, key, numbers, &base.body).await
    }

    /// A base is sealed as the checkpoint of the same record is.
    async fn open_state(
        &self,
        user: UserNumber,
        key: &DataKey,
        (record_number, message_number): (i64, i64),
        sealed: &[u8],
    ) -> Result<Result<Person, String>, KeysAway> {
        let place = checkpoint_place(user, record_number);
        let bytes = match self.open(user, key, place, sealed).await? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let person = Person::of_checkpoint(bytes.expose(), record_number, message_number);
        Ok(person.map_err(|error| error.to_string()))
    }

    /// Opens something of a user's. It may have been sealed by a key that was made after `key` was asked for.
    ///
    /// # Errors
    ///
    /// When the keys are away; what does not open is the inner error.
    pub async fn open(
        &self,
        user: UserNumber,
        key: &DataKey,
        place: Place,
        sealed: &[u8],
    ) -> Result<Result<Phi<Vec<u8>>, Unopened>, KeysAway> {
        let opened = self.seal.open(key, place, sealed);
        if !matches!(opened, Err(Unopened::OtherKey(_))) {
            return Ok(opened);
        }
        let newer = self.keys.keys_of(&[user]).await?.into_iter().next().flatten();
        Ok(newer.map_or(opened, |newer| self.seal.open(&newer, place, sealed)))
    }

    /// Applies stored records to a person, up to number `upto`.
    async fn follow(
        &self,
        person: &mut Person,
        stored: &StoredUser,
        key: &DataKey,
        upto: i64,
    ) -> Result<(), RestoreError> {
        if person.record_number >= upto {
            return Ok(());
        }
        let (store, after) = (&*self.store, person.record_number);
        let mut chain = Chain::find(store, stored.user, after, upto).await?;
        while let Some(page) = chain.next(store).await? {
            for (at, record) in page.iter().enumerate() {
                self.replay(person, stored, key, record).await?;
                if at % AT_A_STRETCH == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(())
    }

    /// The person with all records that are stored by now: the checkpoint, and what came after it.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn newest(&self, stored: &StoredUser, key: &DataKey) -> Result<Person, RestoreError> {
        let (mut person, _) = self.person(stored, key).await?;
        self.follow(&mut person, stored, key, i64::MAX).await?;
        Ok(person)
    }

    /// Applies a stored record to its person.
    ///
    /// # Errors
    ///
    /// See [`RestoreError`].
    pub async fn replay(
        &self,
        person: &mut Person,
        stored: &StoredUser,
        key: &DataKey,
        record: &StoredRecord,
    ) -> Result<(), RestoreError> {
        let (policy, bytes) = self.opened(person, stored, key, record).await?;
        match decoded(stored, bytes.expose())? {
            Opened::Order(order) => obey(person, &policy, stored, &order)?,
            Opened::Record(record) => person.replay(&policy, &record, &mut Vec::new()),
        }
        is_next(person, stored, record)
    }

    /// The policy of a stored record, which must be its person's next, and what is sealed in it.
    async fn opened(
        &self,
        person: &Person,
        stored: &StoredUser,
        key: &DataKey,
        record: &StoredRecord,
    ) -> Result<(Arc<Policy>, Phi<Vec<u8>>), RestoreError> {
        if record.number != person.record_number + 1 {
            let problem = format!("record {} is missing", person.record_number + 1);
            return Err(unreadable(stored, problem));
        }
        if record.engine != ENGINE_VERSION.cast_signed() {
            let problem = format!(
                "record {} was decided by engine version {}, and this release knows only {}",
                record.number, record.engine, ENGINE_VERSION
            );
            return Err(unreadable(stored, problem));
        }
        let place = record_place(stored.user, record.number);
        let bytes = self.open(stored.user, key, place, &record.body).await?;
        let bytes = bytes.map_err(|error| unreadable(stored, error))?;
        let policy = self.policy(record.policy).await?;
        Ok((policy, bytes))
    }

    /// The policy of that number.
    ///
    /// # Errors
    ///
    /// When the store has no such policy, or its text is none that this release understands.
    pub async fn policy(&self, number: i32) -> Result<Arc<Policy>, StoreError> {
        let known = self.policies().iter().find(|known| known.0 == number).cloned();
        if let Some((_, policy)) = known {
            return Ok(policy);
        }
        let (version, text) = self.store.policy(number).await?;
        let loaded = Loaded::from_yaml(&text).map_err(|faults| {
            StoreError::Refused(format!("the stored policy {version} cannot be read: {faults}"))
        })?;
        let policy = Arc::new(loaded.policy);
        self.policies().push((number, Arc::clone(&policy)));
        Ok(policy)
    }

    /// A user as they are stored by now.
    pub(crate) async fn again(&self, user: UserNumber) -> Result<Option<StoredUser>, StoreError> {
        Ok(self.store.users(Asked::Numbers(&[user])).await?.into_iter().next())
    }

    fn policies(&self) -> MutexGuard<'_, Vec<(i32, Arc<Policy>)>> {
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that are applied before others on the thread have their turn.
const AT_A_STRETCH: usize = 64;

fn decoded<'b>(stored: &'b StoredUser, bytes: &'b [u8]) -> Result<Opened<'b>, RestoreError> {
    if Stored::is_one(bytes) {
        let order = Stored::of_bytes(bytes).map_err(|problem| unreadable(stored, problem))?;
        return Ok(Opened::Order(order));
    }
    let record = Record::from_stored(stored.user_id.as_str().into(), bytes);
    record.map(Opened::Record).map_err(|error| unreadable(stored, error))
}

fn obey(
    person: &mut Person,
    policy: &Policy,
    stored: &StoredUser,
    order: &Stored,
) -> Result<(), RestoreError> {
    let obeyed = person.obey(policy, order, &mut Reaction::default());
    obeyed.map_err(|refusal| unreadable(stored, refusal))
}

/// A record was applied: now it must be the person's newest.
fn is_next(
    person: &mut Person,
    stored: &StoredUser,
    record: &StoredRecord,
) -> Result<(), RestoreError> {
    if person.record_number != record.number {
        let problem = format!("record {} now counts as a duplicate", record.number);
        return Err(unreadable(stored, problem));
    }
    person.newest = Some(record.place);
    Ok(())
}

fn unreadable(stored: &StoredUser, problem: impl ToString) -> RestoreError {
    RestoreError::Unreadable { user_id: stored.user_id.clone(), problem: problem.to_string() }
}
