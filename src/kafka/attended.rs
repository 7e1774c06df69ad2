//! A producer that tells what became of each message. Its thread sleeps while nothing is on its way, which that
//! of rdkafka's own future producer does not: four of them took 3 % of a core, all day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::oneshot;

use super::context::Logged;

/// How long to wait before a full queue is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// How long the thread listens at a time while messages are on their way. In the last millisecond of it rdkafka
/// does not sleep; the end of a producer waits for it.
const LISTEN: Duration = Duration::from_millis(250);

/// A message, before it is sent.
pub(super) type Record<'r> = BaseRecord<'r, [u8], [u8]>;

/// What became of it: partition and offset, or why it is not delivered.
pub(super) type Fate = oneshot::Receiver<Result<(i32, i64), KafkaError>>;

/// The producer; ends with its last clone, which may take a second, and gives up then what is still on its way.
#[derive(Clone)]
pub(super) struct Producer(Arc<Attended>);

struct Attended {
    base: Arc<BaseProducer<Fates>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    /// A producer of that configuration, with a thread that listens for it.
    ///
    /// # Errors
    ///
    /// When librdkafka refuses the configuration, or the system has no thread to give.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let base: Arc<BaseProducer<Fates>> = Arc::new(config.create_with_context(Fates)?);
        let over = Arc::new(AtomicBool::new(false));
        let (its_base, its_over) = (Arc::clone(&base), Arc::clone(&over));
        let thread = thread::Builder::new().name("kafka-producer".to_owned());
        let thread = thread.spawn(move || attend(&its_base, &its_over));
        let thread = thread.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self(Arc::new(Attended { base, over, thread: Some(thread) })))
    }

    /// Puts a message in the queue, waiting while that is full.
    ///
    /// # Errors
    ///
    /// When it cannot be sent at all.
    pub(super) async fn enqueue(&self, record: Record<'_>) -> Result<Fate, KafkaError> {
        let Record { topic, partition, payload, key, timestamp, headers, .. } = record;
        let (teller, fate) = oneshot::channel();
        let delivery_opaque = Box::new(teller);
        let mut record =
            BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque };
        loop {
            match self.0.base.send(record) {
                Ok(()) => break,
                Err((error, back))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) =>
                {
                    record = back;
                    tokio::time::sleep(QUEUE_FULL).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
        if let Some(thread) = &self.0.thread {
            thread.thread().unpark();
        }
        Ok(fate)
    }

    /// Whether the producer has failed for good.
    pub(super) fn has_failed(&self) -> bool {
        let is_deaf = self.0.thread.as_ref().is_none_or(JoinHandle::is_finished);
        is_deaf || self.0.base.client().fatal_error().is_some()
    }

    /// Gives up whatever is on its way, whoever sent it; ends where it holds nobody up.
    pub(super) fn retire(self) {
        self.0.base.purge(PurgeConfig::default().queue().inflight());
        tokio::task::spawn_blocking(move || drop(self));
    }

    /// Whether both are clones of one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until nothing is on its way.
    ///
    /// # Errors
    ///
    /// When that takes longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) -> Result<(), KafkaError> {
        self.0.base.flush(timeout)
    }
}

/// Passes on what librdkafka tells, until the producer's end.
fn attend(base: &BaseProducer<Fates>, over: &AtomicBool) {
    while !over.load(Ordering::Acquire) {
        // Messages count until their fate is told; whoever sends one wakes us afterwards.
        if base.in_flight_count() > 0 {
            base.poll(LISTEN);
        } else {
            // What it has to say besides, about brokers for example, can wait as long.
            thread::park_timeout(LISTEN);
            base.poll(Duration::ZERO);
        }
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // If it has panicked, there is nothing to wait for.
            thread.join().ok();
        }
    }
}

/// Tells each message's fate to whoever waits for it.
struct Fates;

impl ClientContext for Fates {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Logged.log(level, facility, message);
    }
}

impl ProducerContext for Fates {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(i32, i64), KafkaError>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, teller: Self::DeliveryOpaque) {
        let fate = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        // Nobody may be waiting any more.
        teller.send(fate).ok();
    }
}
