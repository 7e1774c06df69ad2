//! What was written to the peer and is not known to be read by it. It knows no socket and no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use actors::log::{LogError, Unpublished};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

/// Tells a relay what became of its messages.
type Answer = oneshot::Sender<Result<(), Unpublished>>;

/// What was written and is not known to be read.
pub(super) struct Window {
    /// Each message has to be acknowledged; else a pong is enough.
    require_ack: bool,
    pages: BTreeMap<PageNumber, Written>,
    next_page: PageNumber,
    /// Where messages are that wait to be acknowledged. One whose lane was claimed again is in two pages.
    unacknowledged: BTreeMap<Uuid, Vec<Position>>,
    /// Pings that wait for their pongs, with when each was sent.
    pings: VecDeque<(u64, Instant)>,
    last_ping: u64,
    /// The first message in the order of writing that waits to be acknowledged, and since when all before it are.
    oldest: Option<(Position, Instant)>,
    /// The peer has taken something.
    has_taken: bool,
}

/// Numbers pages in the order in which they are written.
type PageNumber = u64;

/// A message: its page, and its place in it. Pages are written one after the other.
type Position = (PageNumber, usize);

/// Messages of one lane.
struct Written {
    /// So many are in it.
    length: usize,
    /// Of those that were written: whether each was acknowledged.
    acknowledged: Vec<bool>,
    /// The ping that was sent behind its last message.
    ping: Option<u64>,
    answer: Answer,
}

/// The peer takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// With a pong.
    Pong,
    /// With an acknowledgement.
    Ack,
}

impl Window {
    pub(super) fn new(require_ack: bool) -> Self {
        Self {
            require_ack,
            pages: BTreeMap::new(),
            next_page: 0,
            unacknowledged: BTreeMap::new(),
            pings: VecDeque::new(),
            last_ping: 0,
            oldest: None,
            has_taken: false,
        }
    }

    /// A page of so many messages is about to be written.
    pub(super) fn begin(&mut self, length: usize, answer: Answer) -> PageNumber {
        let number = self.next_page;
        self.next_page += 1;
        let acknowledged = Vec::with_capacity(length);
        self.pages.insert(number, Written { length, acknowledged, ping: None, answer });
        number
    }

    /// The page's next message is about to be written.
    pub(super) fn write(&mut self, page: PageNumber, message_id: Uuid, now: Instant) {
        let Some(written) = self.pages.get_mut(&page) else { return };
        let place = written.acknowledged.len();
        written.acknowledged.push(false);
        if self.require_ack {
            self.unacknowledged.entry(message_id).or_default().push((page, place));
            self.oldest.get_or_insert(((page, place), now));
        }
    }

    /// A ping is about to be written: gives what is to be in it.
    pub(super) fn ping(&mut self, now: Instant) -> [u8; 8] {
        self.last_ping += 1;
        self.pings.push_back((self.last_ping, now));
        for page in self.pages.values_mut() {
            if page.acknowledged.len() == page.length {
                page.ping.get_or_insert(self.last_ping);
            }
        }
        self.last_ping.to_be_bytes()
    }

    /// The peer says that it has a message; says whether it waited to be acknowledged.
    pub(super) fn acknowledge(&mut self, message_id: Uuid, now: Instant) -> bool {
        let Some(places) = self.unacknowledged.remove(&message_id) else { return false };
        self.has_taken = true;
        for (number, place) in places {
            let Some(page) = self.pages.get_mut(&number) else { continue };
            if let Some(acknowledged) = page.acknowledged.get_mut(place) {
                *acknowledged = true;
            }
            if page.safe() == page.length {
                self.is_safe(number);
            }
        }
        let oldest = self.first_unacknowledged();
        if self.oldest.map(|(known, _)| known) != oldest {
            self.oldest = oldest.map(|position| (position, now));
        }
        true
    }

    /// In the order of writing.
    fn first_unacknowledged(&self) -> Option<Position> {
        let mut pages = self.pages.iter();
        pages.find_map(|(number, page)| {
            let place = page.safe();
            (place < page.acknowledged.len()).then_some((*number, place))
        })
    }

    /// The peer has answered a ping, and with it all before; says whether that ping waited for it.
    pub(super) fn pong(&mut self, payload: &[u8]) -> bool {
        let Ok(ping) = payload.try_into().map(u64::from_be_bytes) else { return false };
        if !self.pings.iter().any(|(sent, _)| *sent == ping) {
            return false;
        }
        self.pings.retain(|(sent, _)| *sent > ping);
        if !self.require_ack {
            // It reads frames in order: what was written before the ping it has read.
            let read =
                self.pages.iter().filter(|(_, page)| page.ping.is_some_and(|its| its <= ping));
            let read: Vec<PageNumber> = read.map(|(number, _)| *number).collect();
            read.into_iter().for_each(|number| self.is_safe(number));
        }
        true
    }

    fn is_safe(&mut self, page: PageNumber) {
        if let Some(page) = self.pages.remove(&page) {
            self.has_taken = true;
            // Whose lane has ended does not wait for it any more.
            let _gone = page.answer.send(Ok(()));
        }
    }

    /// Whether the peer has ever taken something.
    pub(super) fn has_taken(&self) -> bool {
        self.has_taken
    }

    /// Whether a ping waits for its pong.
    pub(super) fn has_ping(&self) -> bool {
        !self.pings.is_empty()
    }

    /// Messages that were written and are not known to be read.
    pub(super) fn unanswered(&self) -> usize {
        let open = |page: &Written| page.acknowledged.iter().filter(|its| !**its).count();
        self.pages.values().map(open).sum()
    }

    /// What the peer has owed for longer than `patience`. One that is slow is not late as long as it goes on with the
    /// oldest; what it does with others makes good for no message that it leaves out.
    pub(super) fn late(&self, now: Instant, patience: Duration) -> Option<Late> {
        let is_late = |since: Instant| now.saturating_duration_since(since) > patience;
        if self.pings.front().is_some_and(|(_, sent)| is_late(*sent)) {
            return Some(Late::Pong);
        }
        self.oldest.is_some_and(|(_, since)| is_late(since)).then_some(Late::Ack)
    }

    /// The connection has ended: tells relays how much of what they gave is safe.
    pub(super) fn fail(&mut self, problem: &str) {
        for page in std::mem::take(&mut self.pages).into_values() {
            let (safe, problem) = (page.safe(), LogError::Away(problem.to_owned()));
            let _gone = page.answer.send(Err(Unpublished { safe, problem }));
        }
        self.unacknowledged.clear();
        self.pings.clear();
        self.oldest = None;
    }
}

impl Written {
    /// Messages that were acknowledged, from the first on.
    fn safe(&self) -> usize {
        self.acknowledged.iter().take_while(|its| **its).count()
    }
}

#[cfg(test)]
mod tests;
