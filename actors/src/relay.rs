//! The relay of one sink: from the outbox of a lane to a topic. Its cursor moves only behind what is
//! safe at the sink, a little later, and only with the lane's token.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{End, EndGuard};
use crate::capacity::{DEAD_LETTERS_PAGE, OUTBOX_PAGE};
use crate::dead_letter::{self, Failure, Letter};
use crate::defect::Defect;
use crate::lane::{FenceToken, Lane, PerSource, UserNumber};
use crate::log::{LogError, Outgoing};
use crate::observe::Published;
use crate::ports::Ports;
use crate::push::{Inbox, Next, PAUSE};
use crate::rows::Sink;
use crate::seal::{self, DataKey, KeysAway};
use crate::store::{StoreError, StoredDeadLetter, StoredOutbox};
use crate::user::outbox_place;

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
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keys(#[from] KeysAway),
    #[error("fenced")]
    Fenced,
}

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
        loop {
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                turn = self.turn(sink, inbox, &mut cursor) => turn,
            };
            match turn {
                Ok(()) => pause = PAUSE.0,
                Err(Trouble::Fenced) => {
                    // The first reason to end counts.
                    let _later = end.try_send(End::Claim { fenced: true });
                    return;
                }
                Err(trouble) => {
                    self.report(sink, Done::default(), Some(trouble.to_string()), inbox, cursor);
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

    /// One page of messages, or a wait for some.
    async fn turn(
        &self,
        sink: Sink,
        inbox: &Inbox,
        cursor: &mut Option<Cursor>,
    ) -> Result<(), Trouble> {
        let cursor = match cursor {
            Some(known) => known,
            None => {
                let stored = self.ports.store.cursor(self.lane, sink).await?;
                cursor.insert(Cursor { number: stored, stored, lags_since: None })
            }
        };
        if cursor.is_due() {
            self.write(sink, cursor).await?;
        }
        let from = cursor.number;
        let limit = usize::try_from(OUTBOX_PAGE).unwrap_or(1);
        let (messages, unopened, to) = match inbox.next(from, limit) {
            Next::Idle => {
                tokio::select! {
                    biased;
                    () = inbox.changed.notified() => {}
                    () = cursor.due() => {}
                }
                return Ok(());
            }
            Next::Send(messages) => {
                let to = messages.last().map_or(from, |(number, _)| *number);
                (messages.into_iter().map(|(_, outgoing)| outgoing).collect(), 0, to)
            }
            Next::CatchUp(upto) => self.page(sink, from, upto).await?,
        };
        let done = Done { messages: messages.len() as u64, unopened };
        if Defect::CursorBeforeSend.is_on() {
            let mut ahead = *cursor;
            ahead.move_to(to);
            self.write(sink, &mut ahead).await?;
        }
        if done.messages > 0 {
            self.ports.publisher.publish(sink, messages).await.inspect_err(|_| {
                // What was taken from the inbox is read from the outbox next time.
                inbox.forget(from);
            })?;
        }
        cursor.move_to(to);
        self.report(sink, done, None, inbox, Some(*cursor));
        Ok(())
    }

    /// Stores how far the sink has come.
    async fn write(&self, sink: Sink, cursor: &mut Cursor) -> Result<(), Trouble> {
        if cursor.number > cursor.stored {
            let store = &self.ports.store;
            if !store.move_cursor(self.lane, self.token, sink, cursor.number).await? {
                return Err(Trouble::Fenced);
            }
        }
        *cursor = Cursor { stored: cursor.number, lags_since: None, ..*cursor };
        Ok(())
    }

    /// A page of the outbox in the clear, how much of it does not open, and the number up to which it is
    /// complete. What was the user's who was erased opens no more; it must hold up nobody else.
    async fn page(
        &self,
        sink: Sink,
        from: i64,
        upto: i64,
    ) -> Result<(Vec<Outgoing>, u64, i64), Trouble> {
        let limit = if sink == Sink::DeadLetters { DEAD_LETTERS_PAGE } else { OUTBOX_PAGE };
        let rows = self.ports.store.outbox(self.lane, sink, from, limit).await?;
        let is_last = i64::try_from(rows.len()).unwrap_or(0) < limit;
        let last = rows.last().map_or(upto, |row| row.number);
        let to = if is_last { last.max(upto) } else { last };
        let users: Vec<UserNumber> = rows.iter().filter_map(|row| row.user).collect();
        let keys =
            if users.is_empty() { Vec::new() } else { self.ports.keys.keys_of(&users).await? };
        let mut keys = keys.into_iter();
        let (mut messages, mut unopened) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            let key = row.user.and_then(|_| keys.next()).flatten();
            let outgoing = match &row.dead_letter {
                Some(said) => self.open_letter(sink, &row, said).await?,
                None => self.open(&row, key.as_ref()),
            };
            match outgoing {
                Some(outgoing) => messages.push(outgoing),
                None => {
                    unopened += 1;
                    tracing::warn!(
                        lane = self.lane.0,
                        number = row.number,
                        "an outbox row does not open and is passed over"
                    );
                }
            }
        }
        Ok((messages, unopened, to))
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
        Some(Outgoing { key, value: Some(message), headers: Vec::new() })
    }

    fn report(
        &self,
        sink: Sink,
        done: Done,
        problem: Option<String>,
        inbox: &Inbox,
        cursor: Option<Cursor>,
    ) {
        let waiting = inbox.behind(cursor.map_or(0, |cursor| cursor.number));
        let Done { messages, unopened } = done;
        let published = Published { messages, unopened, problem, waiting };
        self.ports.observer.published(self.lane, sink, &published);
    }
}

/// What a turn has done.
#[derive(Clone, Copy, Default)]
struct Done {
    messages: u64,
    unopened: u64,
}

/// How far a sink has come.
#[derive(Clone, Copy)]
struct Cursor {
    /// Everything up to this number is safe at the sink.
    number: i64,
    /// What the store says of it.
    stored: i64,
    /// Since when the store lags behind.
    lags_since: Option<Instant>,
}

/// How long the stored cursor may lag: a crash repeats the messages of this time, and for them one
/// transaction is enough.
const CURSOR_LAG: Duration = Duration::from_millis(200);

impl Cursor {
    fn move_to(&mut self, number: i64) {
        if number > self.number {
            self.number = number;
            self.lags_since.get_or_insert_with(Instant::now);
        }
    }

    fn is_due(&self) -> bool {
        self.lags_since.is_some_and(|since| since.elapsed() >= CURSOR_LAG)
    }

    /// Returns when it is due.
    async fn due(&self) {
        match self.lags_since {
            Some(since) => tokio::time::sleep_until(since + CURSOR_LAG).await,
            None => std::future::pending().await,
        }
    }
}

/// Waits; says whether the lane goes on.
async fn rest(pause: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
