//! What the store holds, in the clear, one JSON object a line: a user's records as a log that `replay`
//! reads, their states as `replay --state` prints them, their mode changes and alerts as they left.

mod person;
mod record;

use std::io::{self, Write};
use std::sync::Arc;

use actors::chain::Chain;
use actors::lane::UserNumber;
use actors::message::explained_of_stored;
use actors::phi::Phi;
use actors::places::{alert_place, record_place, transition_place};
use actors::restore::{RestoreError, Restorer};
use actors::seal::{DataKey, KeyRing, KeysAway, Place, Seal, Unopened};
use actors::store::{Asked, Store as _, StoreError, StoredUser};
use neuros::alert::Stored;
use neuros::event::Record;
use serde_json::json;

use crate::coach;
use crate::store::{Administration as _, SqlStore};

pub use record::LogLine;

/// Why an export stops.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store does not answer, or has not what it should have.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys are away.
    #[error(transparent)]
    Keys(#[from] KeysAway),
    /// A state cannot be restored.
    #[error(transparent)]
    State(#[from] RestoreError),
    /// Something does not open.
    #[error("row {number} of {table} does not open: {problem}")]
    Unopened {
        /// Where it lies.
        table: &'static str,
        /// Which row of its user.
        number: i64,
        /// Why.
        problem: String,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Records, as a log.
    Log,
    /// States.
    States,
    /// Mode changes with their explanations.
    Transitions,
    /// Changes of alerts.
    Alerts,
    /// What people and time have asked of the alerts.
    Orders,
    /// Messages of the coach.
    CoachMessages,
}

/// Exports what a store holds.
pub struct Exporter {
    store: Arc<SqlStore>,
    keys: Arc<dyn KeyRing>,
    seal: Arc<dyn Seal>,
    restorer: Restorer,
}

/// What an export has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Lines that were written.
    pub lines: u64,
    /// Users of whom nothing opens: they were erased.
    pub erased: u64,
}

/// Users that are looked up at once.
const USERS_PAGE: usize = 1_000;
/// Rows of a user that are read at once.
const ROWS_PAGE: i64 = 2_000;

impl Exporter {
    /// An exporter of `store`, whose keys `keys` gives.
    pub fn new(store: Arc<SqlStore>, keys: Arc<dyn KeyRing>, seal: Arc<dyn Seal>) -> Self {
        let restorer = Restorer::new(Arc::clone(&store) as _, Arc::clone(&seal), Arc::clone(&keys));
        Self { store, keys, seal, restorer }
    }

    /// The users with that id, or all, by the bytes of their ids.
    ///
    /// # Errors
    ///
    /// When the store is away.
    pub async fn users(&self, only: Option<&str>) -> Result<Vec<UserNumber>, ExportError> {
        if let Some(user_id) = only {
            let found = self.store.users(Asked::Ids(&[user_id])).await?;
            return Ok(found.iter().map(|stored| stored.user).collect());
        }
        let mut users = Vec::new();
        let mut after = UserNumber(i64::MIN);
        loop {
            let page = self.store.users_after(after, ROWS_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.user;
            users.extend(page.into_iter().map(|stored| (stored.user_id, stored.user)));
        }
        users.sort_unstable();
        Ok(users.into_iter().map(|(_, user)| user).collect())
    }

    /// Writes what is held of `users`, in their order.
    ///
    /// # Errors
    ///
    /// See [`ExportError`]; what came before the fault is written.
    pub async fn write(
        &self,
        what: What,
        users: &[UserNumber],
        output: &mut impl Write,
    ) -> Result<Exported, ExportError> {
        let mut done = Exported::default();
        for page in users.chunks(USERS_PAGE) {
            let mut stored = self.store.users(Asked::Numbers(page)).await?;
            stored.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
            let numbers: Vec<UserNumber> = stored.iter().map(|stored| stored.user).collect();
            let keys = self.keys.keys_of(&numbers).await?;
            for (stored, key) in stored.iter().zip(&keys) {
                let Some(key) = key.as_ref().filter(|_| !stored.erased) else {
                    done.erased += 1;
                    continue;
                };
                done.lines += match what {
                    What::Log | What::Orders => self.records(what, stored, key, output).await?,
                    What::States => self.state(stored, key, output).await?,
                    What::Transitions => self.transitions(stored, key, output).await?,
                    What::Alerts => self.alerts(stored, key, output).await?,
                    What::CoachMessages => self.coach_messages(stored, key, output).await?,
                };
            }
        }
        output.flush()?;
        Ok(done)
    }

    /// Records, or the orders among them.
    async fn records(
        &self,
        what: What,
        stored: &StoredUser,
        key: &DataKey,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let store = self.store.as_ref();
        let after = stored.start.record_number;
        let mut chain = Chain::find(store, stored.user, after, i64::MAX).await?;
        let mut lines = 0;
        while let Some(page) = chain.next(store).await? {
            for row in &page {
                let place = record_place(stored.user, row.number);
                let bytes = self.open(stored.user, key, place, &row.body).await?;
                let bytes = bytes.expose();
                let unopened = |problem: String| ExportError::Unopened {
                    table: "event_records",
                    number: row.number,
                    problem,
                };
                match (Stored::is_one(bytes), what) {
                    (true, What::Orders) => {
                        let order = Stored::of_bytes(bytes).map_err(unopened)?;
                        let (at, order) = (order.at(), order.order());
                        let number = row.number;
                        write_line(&json!({ "number": number, "at": at, "order": order }), output)?;
                    }
                    (false, What::Log) => {
                        let record = Record::from_stored(stored.user_id.as_str().into(), bytes);
                        let record = record.map_err(|error| unopened(error.to_string()))?;
                        write_line(&LogLine::of(&record), output)?;
                    }
                    _ => continue,
                }
                lines += 1;
            }
        }
        Ok(lines)
    }

    async fn state(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let person = self.restorer.newest(stored, key).await?;
        let Some(state) = person.state else { return Ok(0) };
        write_line(&state.summary(&stored.user_id), output)?;
        Ok(1)
    }

    async fn transitions(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let (mut after, mut lines) = (stored.start.message_number, 0);
        loop {
            let page = self.store.transitions_of_user(stored.user, after, ROWS_PAGE).await?;
            let Some(last) = page.last() else { return Ok(lines) };
            after = last.n;
            for row in &page {
                let place = transition_place(stored.user, row.n);
                let opened = self.open(stored.user, key, place, &row.body).await?;
                let json = explained_of_stored(opened).ok_or_else(|| ExportError::Unopened {
                    table: place.table,
                    number: row.n,
                    problem: "what is sealed there is no mode change".to_owned(),
                })?;
                write_text(&json, output)?;
                lines += 1;
            }
        }
    }

    async fn alerts(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let page = async |after| {
            let page = self.store.alerts_of_user(stored.user, after, ROWS_PAGE).await?;
            Ok(page.into_iter().map(|row| (row.n, row.body)).collect())
        };
        self.messages(stored, key, page, alert_place, output).await
    }

    async fn coach_messages(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let page = async |after| {
            let page = self.store.coach_messages_of_user(stored.user, after, ROWS_PAGE).await?;
            Ok(page.into_iter().map(|row| (row.n, row.body)).collect())
        };
        self.messages(stored, key, page, coach::place, output).await
    }

    /// What is sealed as it is shown: messages behind a number, each with its own, page by page.
    async fn messages(
        &self,
        stored: &StoredUser,
        key: &DataKey,
        page: impl AsyncFn(i64) -> Result<Vec<(i64, Vec<u8>)>, StoreError>,
        place: impl Fn(UserNumber, i64) -> Place,
        output: &mut impl Write,
    ) -> Result<u64, ExportError> {
        let (mut after, mut lines) = (stored.start.message_number, 0);
        loop {
            let page = page(after).await?;
            let Some((last, _)) = page.last() else { return Ok(lines) };
            after = *last;
            for (n, body) in &page {
                let place = place(stored.user, *n);
                write_text(&self.open(stored.user, key, place, body).await?, output)?;
                lines += 1;
            }
        }
    }

    async fn open(
        &self,
        user: UserNumber,
        key: &DataKey,
        place: Place,
        body: &[u8],
    ) -> Result<Phi<Vec<u8>>, ExportError> {
        let opened = self.restorer.open(user, key, place, body).await?;
        opened.map_err(|problem: Unopened| ExportError::Unopened {
            table: place.table,
            number: place.record,
            problem: problem.to_string(),
        })
    }
}

/// A text that is a line already.
fn write_text(line: &Phi<Vec<u8>>, output: &mut impl Write) -> io::Result<()> {
    output.write_all(line.expose())?;
    output.write_all(b"\n")
}

fn write_line(line: &impl serde::Serialize, output: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")
}
