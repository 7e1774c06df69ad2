//! Events on their way: a bounded number, and what became of each.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::counted;
use super::event::Borrowed;
use crate::cli::failure::Failure;
use crate::kafka::Sender;
use crate::replay::Malformed;

/// Events on their way, at most …
const EVENTS_MAX: usize = 10_000;
/// … and their bytes, at most, unless one alone has more.
const BYTES_MAX: usize = 32 << 20;

/// Sends events one after the other, without waiting for each.
pub(super) struct Sending {
    sender: Sender,
    began: Instant,
    rate: Option<f64>,
    put: u64,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    pub(super) delivered: u64,
    lost: u64,
    /// Which was lost first, and why.
    first_loss: Option<String>,
}

/// An event on its way.
struct Waiting {
    delivery: BoxFuture<'static, Result<(i32, i64), String>>,
    bytes: usize,
    line: u64,
}

impl Sending {
    pub(super) fn new(sender: Sender, rate: Option<f64>) -> Self {
        Self {
            sender,
            began: Instant::now(),
            rate,
            put: 0,
            waiting: VecDeque::new(),
            bytes: 0,
            delivered: 0,
            lost: 0,
            first_loss: None,
        }
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// An event was not delivered: nothing is gained by sending more.
    pub(super) fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// Puts an event in the way once there is room for it and its time has come. The inner error says
    /// that it can never be sent.
    pub(super) async fn put(
        &mut self,
        event: Borrowed<'_>,
        input: &str,
        line: u64,
    ) -> Result<Result<(), Malformed>, Failure> {
        if let Some(rate) = self.rate {
            let due = Duration::try_from_secs_f64(self.put as f64 / rate).unwrap_or(Duration::MAX);
            if let Some(due) = self.began.checked_add(due) {
                tokio::time::sleep_until(due).await;
            }
        }
        let bytes = event.value.len();
        while self.waiting.len() >= EVENTS_MAX
            || (self.bytes + bytes > BYTES_MAX && !self.waiting.is_empty())
        {
            self.wait_for_one().await;
        }
        match self.sender.send(event.as_event()).await {
            Ok(sent) => {
                let delivery = sent.delivered().boxed();
                self.waiting.push_back(Waiting { delivery, bytes, line });
                self.bytes += bytes;
                self.put += 1;
            }
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) =>
            {
                return Ok(Err(Malformed::TooLarge(bytes)));
            }
            Err(error) => {
                return Err(Failure::Unavailable(format!("{input}, line {line}: {error}")));
            }
        }
        self.take_what_is_done();
        Ok(Ok(()))
    }

    /// Waits for all that is on its way.
    pub(super) async fn finish(&mut self) {
        while !self.waiting.is_empty() {
            self.wait_for_one().await;
        }
    }

    /// Whether all were delivered.
    pub(super) fn check(&self, servers: &str) -> Result<(), Failure> {
        let Some(first) = &self.first_loss else { return Ok(()) };
        let lost = counted(self.lost, "event");
        let was = if self.lost == 1 { "was" } else { "were" };
        Err(Failure::Unavailable(format!(
            "{lost} of {} {was} not delivered to {servers}, the first {first}; look whether Kafka runs \
             there, and send what is missing again",
            self.put
        )))
    }

    async fn wait_for_one(&mut self) {
        if let Some(mut waiting) = self.waiting.pop_front() {
            let done = (&mut waiting.delivery).await;
            self.note(&waiting, done);
        }
    }

    /// Whoever reads lines slowly hears of a loss all the same.
    fn take_what_is_done(&mut self) {
        while let Some(mut waiting) = self.waiting.pop_front() {
            match (&mut waiting.delivery).now_or_never() {
                Some(done) => self.note(&waiting, done),
                None => return self.waiting.push_front(waiting),
            }
        }
    }

    fn note(&mut self, waiting: &Waiting, done: Result<(i32, i64), String>) {
        self.bytes -= waiting.bytes;
        match done {
            Ok(_) => self.delivered += 1,
            Err(problem) => {
                self.lost += 1;
                self.first_loss
                    .get_or_insert_with(|| format!("in line {}: {problem}", waiting.line));
            }
        }
    }
}
