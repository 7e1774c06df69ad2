//! The push actor: relays a lane's committed outbox to its sinks, each at its own pace, in order, at
//! least once. What it was handed after a commit it sends at once; whatever it missed it reads from the
//! store, which is the truth.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::batch::{Committed, End};
use crate::capacity::{BATCH_MAILBOX, LIVE_OUTBOX, LIVE_OUTBOX_BYTES};
use crate::log::Outgoing;
use crate::relay::Relay;
use crate::rows::Sink;

/// Relays one lane's outbox.
pub(crate) struct Push {
    sinks: Vec<(Sink, Rc<Inbox>)>,
}

/// What a sink is handed.
pub(crate) struct Inbox {
    live: std::cell::RefCell<Live>,
    pub(crate) changed: Notify,
}

/// Messages in the order of their numbers.
#[derive(Default)]
struct Live {
    messages: VecDeque<(i64, Outgoing)>,
    /// Everything of the sink with a number above this is in `messages`, up to `head`.
    complete_after: i64,
    /// The newest number of the lane's outbox.
    head: i64,
}

/// The next thing for a sink to do.
pub(crate) enum Next {
    /// Send these: they follow directly what was sent before.
    Send(Vec<(i64, Outgoing)>),
    /// Read the store from the cursor up to this number.
    CatchUp(i64),
    /// Nothing is left.
    Idle,
}

/// What a sink takes at once.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    pub(crate) rows: usize,
    /// One message may have more.
    pub(crate) bytes: usize,
}

impl Page {
    /// How many of messages of these sizes it holds, from the first on.
    pub(crate) fn holds(self, sizes: impl Iterator<Item = usize>) -> usize {
        let mut bytes = 0;
        let fits = |size: &usize| {
            let is_first = bytes == 0;
            bytes += size;
            is_first || bytes <= self.bytes
        };
        sizes.take(self.rows).take_while(fits).count()
    }
}

impl Inbox {
    pub(crate) fn new(head: i64) -> Self {
        let live = Live { messages: VecDeque::new(), complete_after: head, head };
        Self { live: live.into(), changed: Notify::new() }
    }

    fn put(&self, messages: impl Iterator<Item = (i64, Outgoing)>, head: i64) {
        let live = &mut *self.live.borrow_mut();
        live.messages.extend(messages);
        live.head = head;
        let bytes: usize = live.messages.iter().map(|(_, outgoing)| outgoing.bytes()).sum();
        if live.messages.len() > LIVE_OUTBOX || bytes > LIVE_OUTBOX_BYTES {
            live.messages.clear();
            live.complete_after = head;
        }
        self.changed.notify_one();
    }

    /// Forgets what it was handed: it is read from the store, which may no longer open all of it.
    fn read_again(&self, head: i64) {
        let live = &mut *self.live.borrow_mut();
        if !live.messages.is_empty() {
            live.messages.clear();
            live.complete_after = head;
        }
        live.head = head;
        self.changed.notify_one();
    }

    /// What to do when everything up to `cursor` has left; takes no more than a page.
    pub(crate) fn next(&self, cursor: i64, page: Page) -> Next {
        let live = &mut *self.live.borrow_mut();
        if cursor < live.complete_after {
            return Next::CatchUp(live.complete_after);
        }
        while live.messages.front().is_some_and(|(number, _)| *number <= cursor) {
            live.messages.pop_front();
        }
        if live.messages.is_empty() {
            return Next::Idle;
        }
        let sizes = live.messages.iter().map(|(_, outgoing)| outgoing.bytes());
        let take = page.holds(sizes);
        let messages: Vec<_> = live.messages.drain(..take).collect();
        live.complete_after = messages.last().map_or(cursor, |(number, _)| *number);
        Next::Send(messages)
    }

    /// What was taken and has not left must be read from the outbox: everything above `cursor`.
    pub(crate) fn forget(&self, cursor: i64) {
        let live = &mut *self.live.borrow_mut();
        live.messages.clear();
        live.complete_after = live.head.max(cursor + 1);
    }

    /// Rows of the lane's outbox above `cursor`, of whatever sink, while there are any of this one.
    pub(crate) fn behind(&self, cursor: i64) -> i64 {
        let live = self.live.borrow();
        let waits = cursor < live.complete_after || !live.messages.is_empty();
        if waits { live.head - cursor } else { 0 }
    }
}

impl Push {
    /// Relays from each sink's cursor on; `head` is the newest number of the lane's outbox.
    pub(crate) fn start(
        relay: Rc<Relay>,
        sinks: &[Sink],
        head: i64,
        end: &mpsc::Sender<End>,
        stop: &CancellationToken,
    ) -> actix::Addr<Self> {
        let start = |&sink: &Sink| {
            let inbox = Rc::new(Inbox::new(head));
            let (relay, inbox_of_relay) = (Rc::clone(&relay), Rc::clone(&inbox));
            let (end, stop, runs) = (end.clone(), stop.clone(), relay.ports.relays.token());
            actix::spawn(async move {
                relay.run(sink, &inbox_of_relay, &end, &stop).await;
                drop(runs);
            });
            (sink, inbox)
        };
        Actor::start(Self { sinks: sinks.iter().map(start).collect() })
    }
}

impl Actor for Push {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(BATCH_MAILBOX);
    }
}

impl Handler<Committed> for Push {
    type Result = ();

    fn handle(&mut self, committed: Committed, _: &mut Self::Context) {
        if committed.erased {
            self.sinks.iter().for_each(|(_, inbox)| inbox.read_again(committed.head));
            return;
        }
        let mut of_sinks: Vec<Vec<(i64, Outgoing)>> = vec![Vec::new(); self.sinks.len()];
        for (number, topic, outgoing) in committed.messages {
            let sinks = self.sinks.iter().zip(&mut of_sinks);
            let takers = sinks.filter(|((sink, _), _)| sink.takes(topic));
            let mut takers = takers.map(|(_, messages)| messages).peekable();
            let mut outgoing = Some(outgoing);
            while let Some(messages) = takers.next() {
                // The last takes it, the others a copy.
                let own = if takers.peek().is_some() { outgoing.clone() } else { outgoing.take() };
                messages.extend(own.map(|own| (number, own)));
            }
        }
        for ((_, inbox), messages) in self.sinks.iter().zip(of_sinks) {
            inbox.put(messages.into_iter(), committed.head);
        }
    }
}

/// How long a sink that failed is left alone, at first and at most.
pub(crate) const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
