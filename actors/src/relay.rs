//! The relay of one sink: from the outbox of a lane to where its messages go. Its cursor moves only behind what is
//! safe at the sink, a little later, and only with the lane's token.

mod cursor;

use std::time::Duration;

use neuros::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::batch::{End, EndGuard};
use crate::capacity::{DEAD_LETTERS_PAGE, OUTBOX_PAGE, PEER_PAGE, PEER_PAGE_BYTES};
use crate::dead_letter::{self, Failure, Letter};
use crate::defect::Defect;
use crate::lane::{FenceToken, Lane, PerSource, UserNumber};
use crate::log::{LogError, Outgoing, Unpublished};
use crate::observe::Published;
use crate::places::outbox_place;
use crate::ports::Ports;
use crate::push::{Inbox, Next, PAUSE, Page};
use crate::rows::Sink;
use crate::seal::{self, DataKey, KeysAway};
use crate::store::{StoreError, StoredDeadLetter, StoredOutbox};
use crate::trace::{Leaving, trace_of};
use cursor::Cursor;

/// Relays a lane's outbox.
pub(crate) struct Relay {
    pub(crate) lane: Lane,
    pub(crate) token: FenceToken,
    pub(crate) ports: Ports,
    pub(crate) topics: PerSource<String>,
}

/// Why a sink does not go on now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// It takes nothing yet, and was waited for.
    #[error(transparent)]
    NotReady(LogError),
    #[error(transparent)]
    Sink(LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysAway),
    #[error("fenced")]
    Fenced,
}

/// What a sink is to be given next.
struct Due {
    messages: Vec<Outgoing>,
    /// Their numbers in the outbox.
    numbers: Vec<i64>,
    /// Numbers of rows that open no more.
    unopened: Vec<i64>,
    /// Everything of the sink up to there is in it.
    to: i64,
    /// When the newest of them was committed, of what was read.
    newest: Option<Timestamp>,
}

/// How often it is told that a sink takes its time.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How long a sink whose lane ends may still take to say that what it was given is safe.
const LAST: Duration = Duration::from_secs(2);

impl Relay {
    /// Relays until the lane ends.
    pub(crate) async fn run(
        &self,
        sink: Sink,
        inbox: &Inbox,
        end: &mpsc::Sender<End>,
        stop: &CancellationToken,
    ) {
        let _guard = EndGuard(end.clone());
        let mut pause = PAUSE.0;
        let mut cursor = None;
        while !stop.is_cancelled() {
            let due = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                due = self.next(sink, inbox, &mut cursor) => due,
            };
            let done = match (due, &mut cursor) {
                (Ok(Some(due)), Some(cursor)) => self.send(sink, inbox, due, cursor, stop).await,
                (due, _) => due.map(|_| ()),
            };
            match done {
                Ok(()) => pause = PAUSE.0,
                Err(Trouble::Fenced) => {
                    // The first reason to end counts.
                    let _later = end.try_send(End::Claim { fenced: true });
                    return;
                }
                Err(trouble) => {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = self.complain(sink, inbox, cursor, &trouble) => {}
                    }
                    if matches!(trouble, Trouble::NotReady(_)) {
                        continue;
                    }
                    if !rest(pause, stop).await {
                        break;
                    }
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
        // So that the next owner repeats nothing; one who is there already has fenced this off.
        if let Some(cursor) = &mut cursor {
            let _repeated = self.write(sink, cursor).await;
        }
    }

    /// Waits for messages, as long as the cursor need not be written; `None` when it was time for that.
    async fn next(
        &self,
        sink: Sink,
        inbox: &Inbox,
        cursor: &mut Option<Cursor>,
    ) -> Result<Option<Due>, Trouble> {
        let cursor = match cursor {
            Some(known) => known,
            None => {
                let stored = self.ports.store.cursor(self.lane, sink).await?;
                cursor.insert(Cursor::at(stored))
            }
        };
        if cursor.is_due() {
            self.write(sink, cursor).await?;
        }
        let from = cursor.number;
        if inbox.behind(from) > 0 {
            self.ports.publisher.ready(sink).await.map_err(Trouble::NotReady)?;
        }
        match inbox.next(from, live_page(sink)) {
            Next::Idle => {
                tokio::select! {
                    biased;
                    () = inbox.changed.notified() => {}
                    () = cursor.due() => {}
                }
                Ok(None)
            }
            Next::Send(messages) => {
                let (numbers, messages): (Vec<i64>, _) = messages.into_iter().unzip();
                let to = numbers.last().copied().unwrap_or(from);
                Ok(Some(Due { messages, numbers, unopened: Vec::new(), to, newest: None }))
            }
            Next::CatchUp(upto) => self.read(sink, from, upto).await.map(Some),
        }
    }

    /// Gives a sink what is due, and moves the cursor behind what is safe there.
    async fn send(
        &self,
        sink: Sink,
        inbox: &Inbox,
        due: Due,
        cursor: &mut Cursor,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let Due { messages, numbers, unopened, to, newest } = due;
        if Defect::CursorBeforeSend.is_on() {
            let mut ahead = *cursor;
            ahead.move_to(to);
            self.write(sink, &mut ahead).await?;
        }
        let published = match messages.is_empty() {
            true => Some(Ok(())),
            false => self.publish(sink, messages, inbox, *cursor, stop).await,
        };
        let (safe, problem) = match published {
            Some(Ok(())) => (numbers.len(), None),
            // Not the last of them: behind it there would be nothing to read.
            Some(Err(Unpublished { safe, problem })) => {
                (safe.min(numbers.len().saturating_sub(1)), Some(problem))
            }
            // The lane ends, and nobody knows.
            None => return Ok(()),
        };
        let to = match &problem {
            None => to,
            Some(_) => numbers.iter().take(safe).next_back().map_or(0, |last| *last),
        };
        cursor.move_to(to);
        let unopened = unopened.iter().filter(|number| **number <= to).count();
        let done = Done { messages: safe as u64, unopened: unopened as u64 };
        let Some(problem) = problem else {
            self.report(sink, done, None, inbox, Some(*cursor), newest);
            return Ok(());
        };
        // What was taken from the inbox is read from the outbox next time.
        inbox.forget(cursor.number);
        if safe > 0 || unopened > 0 {
            self.report(sink, done, None, inbox, Some(*cursor), newest);
        }
        Err(Trouble::Sink(problem))
    }

    /// Waits until messages are safe, and tells meanwhile what waits; `None` when the lane has ended for a while.
    async fn publish(
        &self,
        sink: Sink,
        mut messages: Vec<Outgoing>,
        inbox: &Inbox,
        cursor: Cursor,
        stop: &CancellationToken,
    ) -> Option<Result<(), Unpublished>> {
        let leaving = Leaving::begin(&*self.ports.tracer, sink, &mut messages);
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        let slow = async {
            loop {
                tokio::time::sleep(TELL_EVERY).await;
                let since = self.waiting_since(sink, inbox, cursor).await;
                self.report(sink, Done::default(), None, inbox, Some(cursor), since);
            }
        };
        let done = tokio::select! {
            biased;
            done = self.ports.publisher.publish(sink, messages) => Some(done),
            () = late => None,
            () = slow => None,
        };
        leaving.end(matches!(done, Some(Ok(()))));
        done
    }

    /// Stores how far the sink has come.
    async fn write(&self, sink: Sink, cursor: &mut Cursor) -> Result<(), Trouble> {
        if cursor.number > cursor.stored {
            let store = &self.ports.store;
            if !store.move_cursor(self.lane, self.token, sink, cursor.number).await? {
                return Err(Trouble::Fenced);
            }
        }
        cursor.is_stored();
        Ok(())
    }

    /// A page of the outbox in the clear. What was the user's who was erased opens no more; it must hold up nobody
    /// else.
    async fn read(&self, sink: Sink, from: i64, upto: i64) -> Result<Due, Trouble> {
        let page = stored_page(sink);
        let limit = i64::try_from(page.rows).unwrap_or(1);
        let mut rows = self.ports.store.outbox(self.lane, sink, from, limit).await?;
        let is_last = rows.len() < page.rows;
        let holds = page.holds(rows.iter().map(|row| row.body.len()));
        let is_cut = holds < rows.len();
        rows.truncate(holds);
        let last = rows.last().map_or(upto, |row| row.number);
        let to = if is_last && !is_cut { last.max(upto) } else { last };
        let newest = rows.last().map(|row| row.recorded_at);
        let users: Vec<UserNumber> = rows.iter().filter_map(|row| row.user).collect();
        let keys =
            if users.is_empty() { Vec::new() } else { self.ports.keys.keys_of(&users).await? };
        let mut keys = keys.into_iter();
        let (messages, numbers) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        let mut due = Due { messages, numbers, unopened: Vec::new(), to, newest };
        for row in rows {
            let key = row.user.and_then(|_| keys.next()).flatten();
            let outgoing = match &row.dead_letter {
                Some(said) => self.open_letter(sink, &row, said).await?,
                None => self.open(&row, key.as_ref()),
            };
            match outgoing {
                Some(outgoing) => {
                    due.messages.push(outgoing);
                    due.numbers.push(row.number);
                }
                None => {
                    due.unopened.push(row.number);
                    tracing::warn!(
                        lane = self.lane.0,
                        number = row.number,
                        "an outbox row does not open and is passed over"
                    );
                }
            }
        }
        Ok(due)
    }

    async fn open_letter(
        &self,
        sink: Sink,
        row: &StoredOutbox,
        said: &StoredDeadLetter,
    ) -> Result<Option<Outgoing>, Trouble> {
        let place = dead_letter::place(Letter { lane: self.lane, number: row.number });
        let (keys, seal) = (&*self.ports.keys, &*self.ports.seal);
        let bytes = seal::open_own(keys, seal, place, &row.body).await?;
        let Some(raw) = bytes.ok().and_then(|bytes| dead_letter::of_bytes(&bytes)) else {
            return Ok(None);
        };
        let failure = Failure {
            reason: &said.reason,
            detail: &said.detail,
            topic: self.topics.of(said.source),
            lane: self.lane,
            offset: said.offset,
            failed_at: said.failed_at,
        };
        let bytes_max = self.ports.publisher.bytes_max(sink);
        Ok(Some(dead_letter::outgoing(raw, &failure, bytes_max)))
    }

    fn open(&self, row: &StoredOutbox, key: Option<&DataKey>) -> Option<Outgoing> {
        let place = outbox_place(row.user?, row.n?);
        let message = self.ports.seal.open(key?, place, &row.body).ok()?;
        let key = row.user_id.as_ref().map(|user_id| user_id.as_bytes().to_vec());
        let trace = trace_of(message.expose());
        Some(Outgoing { key, value: Some(message), headers: Vec::new(), trace })
    }

    /// Tells why a sink does not go on.
    async fn complain(&self, sink: Sink, inbox: &Inbox, cursor: Option<Cursor>, trouble: &Trouble) {
        let since = match (trouble, cursor) {
            (Trouble::NotReady(_) | Trouble::Sink(_), Some(cursor)) => {
                self.waiting_since(sink, inbox, cursor).await
            }
            _ => None,
        };
        self.report(sink, Done::default(), Some(trouble.to_string()), inbox, cursor, since);
    }

    /// When the oldest row behind the cursor was committed; `None` when there is none, or nobody knows.
    async fn waiting_since(&self, sink: Sink, inbox: &Inbox, cursor: Cursor) -> Option<Timestamp> {
        if inbox.behind(cursor.number) == 0 {
            return None;
        }
        let rows = self.ports.store.outbox(self.lane, sink, cursor.number, 1).await.ok()?;
        rows.first().map(|row| row.recorded_at)
    }

    fn report(
        &self,
        sink: Sink,
        done: Done,
        problem: Option<String>,
        inbox: &Inbox,
        cursor: Option<Cursor>,
        since: Option<Timestamp>,
    ) {
        let waiting = inbox.behind(cursor.map_or(0, |cursor| cursor.number));
        let waiting_since = since.filter(|_| waiting > 0);
        let Done { messages, unopened } = done;
        let published = Published { messages, unopened, problem, waiting, waiting_since };
        self.ports.observer.published(self.lane, sink, &published);
    }
}

/// What a sink takes at once of what it is handed after a commit.
fn live_page(sink: Sink) -> Page {
    match sink {
        Sink::Peer => stored_page(sink),
        _ => Page { rows: usize::try_from(OUTBOX_PAGE).unwrap_or(1), bytes: usize::MAX },
    }
}

/// What it takes at once of what is read from the outbox.
fn stored_page(sink: Sink) -> Page {
    let (rows, bytes) = match sink {
        Sink::Transitions | Sink::Alerts => (OUTBOX_PAGE, usize::MAX),
        Sink::DeadLetters => (DEAD_LETTERS_PAGE, usize::MAX),
        Sink::Peer => (PEER_PAGE, PEER_PAGE_BYTES),
    };
    Page { rows: usize::try_from(rows).unwrap_or(1), bytes }
}

/// What a turn has done.
#[derive(Clone, Copy, Default)]
struct Done {
    messages: u64,
    unopened: u64,
}

/// Waits; says whether the lane goes on.
async fn rest(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
