//! The load of the soak: events at a steady rate, from a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use crate::durable::clock;
use crate::durable::load::{self, Producer, user_id};

/// Of so many events one is strained enough to change its user's mode.
const STRAINED: u64 = 64;
/// Of so many events one comes without a key, and so on a partition that need not be its user's: the
/// service has to send it on.
const UNKEYED: u64 = 101;
/// The Java client's default would be none; a feed of this rate is batched by any client.
const LINGER: Duration = Duration::from_millis(20);

pub(super) struct Feed {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Feed {
    pub(super) fn start(
        bootstrap: &str,
        topic: &str,
        rate: u64,
        users: u64,
    ) -> anyhow::Result<Self> {
        let producer = Producer::new(bootstrap, topic, LINGER)?;
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&sent), Arc::clone(&stop));
        let thread = std::thread::spawn(move || send(&producer, rate, users, &counted, &stopped));
        Ok(Self { sent, stop, thread: Some(thread) })
    }

    /// Events handed to the producer so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it once all is safe; gives how many events there were.
    pub(super) fn end(&mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the feed has ended")?;
        thread.join().map_err(|_| anyhow::anyhow!("the feed panicked"))??;
        Ok(self.sent())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn send(
    producer: &Producer,
    rate: u64,
    users: u64,
    sent: &AtomicU64,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut text = String::new();
    let began = clock::now();
    let mut i = 0;
    while !stop.load(Ordering::Relaxed) {
        // Reckoned from the begin: whoever was late catches up.
        let due = began + Duration::from_nanos(i * 1_000_000_000 / rate);
        let early = due.saturating_duration_since(clock::now());
        if early > Duration::from_micros(500) {
            std::thread::sleep(early);
        }
        let (user, scattered) = (i % users, load::mixed(i));
        let is_strained = scattered.is_multiple_of(STRAINED);
        load::write(user, clock::micros(), scattered, is_strained, &mut text)?;
        let key = (!i.is_multiple_of(UNKEYED)).then(|| user_id(user));
        producer.send(key.as_deref(), &text)?;
        i += 1;
        sent.store(i, Ordering::Relaxed);
    }
    producer.flush()
}
