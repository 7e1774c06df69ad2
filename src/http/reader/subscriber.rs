//! One who follows users, between what is read and the socket: whom, how far each has come, and what waits to be
//! sent. The queue is bounded: whoever does not keep up is closed, and what was dropped is in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actors::lane::Lane;
use neuros::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cursor::Cursor;
use super::feed::Message;
use super::queue::Queue;
use super::status::Status;
use super::text::Text;

/// Why a socket is closed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Cut {
    /// It does not keep up.
    Slow,
    /// What it asks for is no longer kept.
    CursorGone,
    /// What is stored does not open.
    Broken,
    /// It must come again: this process has lost its place.
    Again,
    /// Too many wait to read.
    Busy,
    /// It cannot be written down that it follows.
    NotLogged,
}

/// One who follows users.
pub(in crate::http) struct Subscriber {
    inner: Mutex<Inner>,
    /// Something waits to be sent.
    ready: Notify,
    /// There is room again.
    room: Notify,
    bytes_max: usize,
    /// What has waited for so long is not sent any more.
    wait_max: Duration,
}

#[derive(Default)]
struct Inner {
    queue: Queue,
    /// Who are asked for and not followed yet, for that is not written down.
    asked: BTreeSet<String>,
    users: BTreeMap<String, Followed>,
    /// The same of everybody.
    asks_for_everybody: bool,
    everybody: Option<Everybody>,
    cut: Option<Cut>,
    is_over: bool,
}

/// A user who is followed.
struct Followed {
    /// The newest message that was put into the queue.
    last: i64,
    /// The newest that was passed over because older ones are still being read.
    seen: i64,
    /// Somebody reads the store for this user.
    is_behind: bool,
    told: Option<Told>,
    sent: u64,
}

/// What was said of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) status: Status,
    /// The time of the newest evaluated event.
    pub(super) clock: Option<Timestamp>,
}

/// All users at once.
struct Everybody {
    cursor: Cursor,
    is_behind: bool,
    sent: u64,
}

/// What is to be done about a message that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// Nothing.
    Done,
    /// One before it is missing: the store is to be read.
    Hole,
}

impl Followed {
    /// There is a message that is not put into the queue now.
    fn sees(&mut self, n: i64) -> Offered {
        if self.is_behind {
            self.seen = self.seen.max(n);
            return Offered::Done;
        }
        if n <= self.last {
            return Offered::Done;
        }
        self.is_behind = true;
        self.seen = n;
        Offered::Hole
    }
}

impl Subscriber {
    /// One who follows nobody yet, with so many bytes that may wait, and for so long.
    pub(super) fn new(bytes_max: usize, wait_max: Duration) -> Self {
        let (ready, room) = (Notify::new(), Notify::new());
        Self { inner: Mutex::default(), ready, room, bytes_max, wait_max }
    }

    /// These are asked for, and nothing is done about it yet.
    pub(super) fn ask(&self, users: impl Iterator<Item = String>) {
        self.inner().asked.extend(users);
    }

    /// The same of everybody.
    pub(super) fn ask_for_everybody(&self) {
        self.inner().asks_for_everybody = true;
    }

    /// Whether anybody still waits for what is to be read.
    pub(super) fn waits(&self) -> bool {
        let inner = self.inner();
        inner.cut.is_none() && !inner.is_over
    }

    /// Follows a user; nothing live is put into the queue for them until [`Subscriber::caught_up`]. Says whether the
    /// socket is still there.
    pub(super) fn follow(&self, user_id: &str) -> bool {
        let followed = Followed { last: 0, seen: 0, is_behind: true, told: None, sent: 0 };
        let mut inner = self.inner();
        inner.asked.remove(user_id);
        if !inner.is_over {
            inner.users.insert(user_id.to_owned(), followed);
        }
        !inner.is_over
    }

    /// Where a user's messages are taken up.
    pub(super) fn begin_after(&self, user_id: &str, last: i64, told: Told) {
        if let Some(followed) = self.inner().users.get_mut(user_id) {
            followed.last = last;
            followed.told = Some(told);
        }
    }

    /// Follows everybody from behind a cursor, with nothing live until the reader has caught up. Says whether the
    /// socket is still there.
    pub(super) fn follow_everybody(&self, cursor: Cursor) -> bool {
        let mut inner = self.inner();
        if !inner.is_over {
            inner.everybody = Some(Everybody { cursor, is_behind: true, sent: 0 });
        }
        !inner.is_over
    }

    /// How many users are followed by name, or asked for.
    pub(super) fn user_count(&self) -> usize {
        let inner = self.inner();
        inner.users.len() + inner.asked.len()
    }

    /// Whether this one is followed by name, or asked for.
    pub(super) fn follows(&self, user_id: &str) -> bool {
        let inner = self.inner();
        inner.users.contains_key(user_id) || inner.asked.contains(user_id)
    }

    /// Whether everybody is followed, or asked for.
    pub(super) fn follows_everybody(&self) -> bool {
        self.inner().asks_for_everybody
    }

    /// A message of a user who is followed by name.
    pub(super) fn offer(&self, message: &Message) -> Offered {
        let mut inner = self.inner();
        let Some(followed) = inner.users.get_mut(&message.user_id) else { return Offered::Done };
        if followed.is_behind || message.n != followed.last + 1 {
            return followed.sees(message.n);
        }
        followed.last = message.n;
        followed.sent += 1;
        self.push(&mut inner, message.text.clone());
        Offered::Done
    }

    /// The same of one that cannot be offered: it is to be read where else it is stored.
    pub(super) fn misses(&self, user_id: &str, n: i64) -> Offered {
        let mut inner = self.inner();
        inner.users.get_mut(user_id).map_or(Offered::Done, |followed| followed.sees(n))
    }

    /// A message for who follows everybody, with its place and the text that names it.
    pub(super) fn offer_any(&self, (lane, number): (Lane, i64), text: &Text) {
        let mut inner = self.inner();
        let Some(everybody) = inner.everybody.as_mut() else { return };
        if everybody.is_behind || number <= everybody.cursor.of(lane) {
            return;
        }
        everybody.cursor.move_to(lane, number);
        everybody.sent += 1;
        self.push(&mut inner, text.clone());
    }

    /// A message for who follows everybody that does not open: behind it nothing follows, unless it was had.
    pub(super) fn misses_any(&self, (lane, number): (Lane, i64)) {
        let mut inner = self.inner();
        let is_missing = |its: &Everybody| !its.is_behind && number > its.cursor.of(lane);
        if inner.everybody.as_ref().is_some_and(is_missing) {
            self.cut_off(&mut inner, Cut::Broken);
        }
    }

    /// A user's condition; told only when it is another than before. It is judged with the clock that was told: what
    /// was looked up may be older.
    pub(super) fn offer_status(
        &self,
        user_id: &str,
        judge: impl FnOnce(Option<Timestamp>) -> Told,
        text: impl FnOnce(Told) -> Text,
    ) {
        let mut inner = self.inner();
        let followed = inner.users.get_mut(user_id);
        let Some(told) = followed.and_then(|followed| followed.told.as_mut()) else { return };
        let before = std::mem::replace(told, judge(told.clock));
        let now = *told;
        if now.status != before.status {
            self.push(&mut inner, text(now));
        }
    }

    /// Something for whoever follows anybody.
    pub(super) fn tell(&self, text: &Text) {
        let mut inner = self.inner();
        self.push(&mut inner, text.clone());
    }

    /// Puts something live into the queue; whoever does not keep up is cut off.
    fn push(&self, inner: &mut Inner, text: Text) {
        if inner.cut.is_some() || inner.is_over {
            return;
        }
        match inner.queue.push(self.by(), text, self.bytes_max) {
            true => self.ready.notify_one(),
            false => self.cut_off(inner, Cut::Slow),
        }
    }

    /// By when something must be sent that is put into the queue now.
    fn by(&self) -> Instant {
        Instant::now() + self.wait_max
    }

    /// Puts something that was read into the queue, when there is room; says whether anybody still waits for it.
    pub(super) async fn put(&self, text: Text) -> bool {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let mut inner = self.inner();
                if inner.cut.is_some() || inner.is_over {
                    return false;
                }
                if inner.queue.push_read(self.by(), &text, self.bytes_max) {
                    self.ready.notify_one();
                    return true;
                }
            }
            room.await;
        }
    }

    /// A user's message that was read is in the queue.
    pub(super) fn passed(&self, user_id: &str, n: i64) {
        if let Some(followed) = self.inner().users.get_mut(user_id) {
            followed.last = n;
            followed.sent += 1;
        }
    }

    /// The newest message of a user in the queue; `None` when nobody waits any more.
    pub(super) fn last(&self, user_id: &str) -> Option<i64> {
        let inner = self.inner();
        let followed =
            inner.users.get(user_id).filter(|_| inner.cut.is_none() && !inner.is_over)?;
        Some(followed.last)
    }

    /// Everything of a user that was stored has been read, and it was something or not; says whether live
    /// messages follow from now on.
    pub(super) fn caught_up(&self, user_id: &str, was_something: bool) -> bool {
        let mut inner = self.inner();
        let Some(followed) = inner.users.get_mut(user_id) else { return true };
        if followed.seen > followed.last {
            if was_something {
                return false;
            }
            // What was seen is not stored any more: the user was erased meanwhile.
            followed.last = followed.seen;
        }
        followed.is_behind = false;
        true
    }

    /// How far somebody who follows everybody has come; `None` when nobody waits any more.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        let inner = self.inner();
        let everybody =
            inner.everybody.as_ref().filter(|_| inner.cut.is_none() && !inner.is_over)?;
        Some(everybody.cursor.clone())
    }

    /// Everything up to there is in the queue, with or without a message.
    pub(super) fn passed_any(&self, (lane, number): (Lane, i64), was_message: bool) {
        if let Some(everybody) = self.inner().everybody.as_mut() {
            everybody.cursor.move_to(lane, number);
            everybody.sent += u64::from(was_message);
        }
    }

    /// Live messages follow from now on, when all is known that `cursor` knows; says whether it is.
    pub(super) fn joins(&self, cursor: &Cursor) -> bool {
        let mut inner = self.inner();
        let Some(everybody) = inner.everybody.as_mut() else { return true };
        let joins = everybody.cursor.covers(cursor);
        everybody.is_behind = !joins;
        joins
    }

    /// Closes the socket for a reason; the first counts.
    pub(super) fn cut(&self, cut: Cut) {
        self.cut_off(&mut self.inner(), cut);
    }

    fn cut_off(&self, inner: &mut Inner, cut: Cut) {
        inner.cut.get_or_insert(cut);
        // What waits is in the store, and whoever comes again reads it there.
        inner.queue.clear();
        self.ready.notify_one();
        self.room.notify_waiters();
    }

    /// Waits for what is to be sent next, and by when; the error says that nothing more is.
    pub(in crate::http) async fn next(&self) -> Result<(Instant, Text), Cut> {
        loop {
            {
                let mut inner = self.inner();
                if let Some(cut) = inner.cut {
                    return Err(cut);
                }
                if inner.queue.is_late() {
                    self.cut_off(&mut inner, Cut::Slow);
                    return Err(Cut::Slow);
                }
                if let Some((by, text)) = inner.queue.pop() {
                    self.room.notify_waiters();
                    return Ok((by, text));
                }
            }
            self.ready.notified().await;
        }
    }

    /// Waits until it is cut off.
    pub(in crate::http) async fn is_cut(&self) -> Cut {
        loop {
            if let Some(cut) = self.inner().cut {
                return cut;
            }
            self.ready.notified().await;
        }
    }

    /// The socket has gone: nothing is put into the queue any more. Gives how many messages were sent of each
    /// user, and of everybody.
    pub(super) fn end(&self) -> (Vec<(String, u64)>, Option<u64>) {
        let mut inner = self.inner();
        inner.is_over = true;
        inner.queue.clear();
        self.room.notify_waiters();
        let users = std::mem::take(&mut inner.users);
        let users = users.into_iter().map(|(user_id, followed)| (user_id, followed.sent)).collect();
        (users, inner.everybody.as_ref().map(|everybody| everybody.sent))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::reader::text::text_of;

    const WAIT_MAX: Duration = Duration::from_secs(60);

    fn message(n: i64) -> Message {
        let text = text_of(format!("{{\"n\":{n}}}"));
        Message { user_id: "ada".to_owned(), n, text }
    }

    async fn next(subscriber: &Subscriber) -> Result<String, Cut> {
        subscriber.next().await.map(|(_, text)| text.expose().clone())
    }

    fn following(last: i64) -> Subscriber {
        let subscriber = Subscriber::new(1_000, WAIT_MAX);
        subscriber.follow("ada");
        let clock = Some(Timestamp::from_micros(100));
        subscriber.begin_after("ada", last, Told { status: Status::Fresh, clock });
        subscriber
    }

    #[tokio::test]
    async fn what_comes_while_the_store_is_read_is_read_there_and_sent_once() {
        let subscriber = following(3);
        assert_eq!(subscriber.offer(&message(5)), Offered::Done);
        assert!(subscriber.put(message(4).text).await);
        subscriber.passed("ada", 4);
        assert!(!subscriber.caught_up("ada", true), "the fifth is not there yet");
        assert!(subscriber.put(message(5).text).await);
        subscriber.passed("ada", 5);
        assert!(subscriber.caught_up("ada", true));
        assert_eq!(subscriber.offer(&message(5)), Offered::Done, "it is there already");
        assert_eq!(subscriber.offer(&message(6)), Offered::Done);
        for n in 4..=6 {
            assert_eq!(next(&subscriber).await, Ok(message(n).text.expose().clone()));
        }
        assert_eq!(subscriber.end(), (vec![("ada".to_owned(), 3)], None));
    }

    #[tokio::test]
    async fn a_status_is_told_when_it_changes_and_judged_with_the_clock_that_was_told() {
        let subscriber = following(0);
        let mut clocks = Vec::new();
        for (status, clock) in
            [(Status::Fresh, 100), (Status::Stale, 200), (Status::Stale, 300), (Status::Fresh, 400)]
        {
            let judge = |told: Option<Timestamp>| {
                clocks.push(told.map(Timestamp::as_micros));
                Told { status, clock: Some(Timestamp::from_micros(clock)) }
            };
            let text = |told: Told| text_of(format!("{:?}", told.status));
            subscriber.offer_status("ada", judge, text);
        }
        assert_eq!(clocks, [100, 100, 200, 300].map(Some));
        assert_eq!(next(&subscriber).await.as_deref(), Ok("Stale"));
        assert_eq!(next(&subscriber).await.as_deref(), Ok("Fresh"));
        assert_eq!(subscriber.inner().queue.pop().map(|(by, _)| by), None, "nothing twice");
    }

    #[tokio::test]
    async fn a_hole_is_seen_once_and_ends_also_when_nothing_is_stored_there() {
        let subscriber = following(0);
        assert!(subscriber.caught_up("ada", false));
        assert_eq!(subscriber.offer(&message(3)), Offered::Hole);
        assert_eq!(subscriber.offer(&message(4)), Offered::Done, "somebody is reading");
        assert!(subscriber.caught_up("ada", false), "erased meanwhile");
        assert_eq!(subscriber.offer(&message(5)), Offered::Done);
        assert_eq!(next(&subscriber).await, Ok(message(5).text.expose().clone()));
    }

    #[tokio::test]
    async fn whoever_does_not_keep_up_is_cut_off_and_whoever_reads_for_them_is_told() {
        let subscriber = following(0);
        subscriber.caught_up("ada", false);
        for n in 1..200 {
            subscriber.offer(&message(n));
        }
        assert_eq!(next(&subscriber).await, Err(Cut::Slow));
        assert_eq!(subscriber.is_cut().await, Cut::Slow);
        assert!(!subscriber.put(message(1).text).await);
        assert_eq!(subscriber.last("ada"), None);
    }

    #[tokio::test]
    async fn what_has_waited_for_long_is_not_sent_any_more_however_little_it_is() {
        let subscriber = following(0);
        subscriber.caught_up("ada", false);
        subscriber.offer(&message(1));
        let (by, _) = subscriber.next().await.expect("a message");
        assert!(by <= Instant::now() + WAIT_MAX, "nor while it is being sent");
        let subscriber = Subscriber { wait_max: Duration::ZERO, ..following(0) };
        subscriber.caught_up("ada", false);
        subscriber.offer(&message(1));
        subscriber.offer(&message(2));
        assert_eq!(next(&subscriber).await, Err(Cut::Slow));
        assert!(subscriber.inner().queue.pop().is_none(), "nor kept");
        assert_eq!(subscriber.last("ada"), None);
    }

    #[tokio::test]
    async fn what_is_read_waits_for_room_and_is_not_cut_off() {
        let subscriber = Arc::new(following(0));
        let reading = Arc::clone(&subscriber);
        let put = tokio::spawn(async move {
            for n in 1..=500 {
                assert!(reading.put(message(n).text).await);
            }
        });
        for n in 1..=500 {
            assert_eq!(next(&subscriber).await, Ok(message(n).text.expose().clone()));
        }
        put.await.expect("all of it was read");
    }
}
