//! A steady stream of events: by producers with two partitioners and by one that picks partitions itself,
//! some events twice, some records that are none, of people who come and go.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::plan::Draw;
use crate::servers::Kafka;
use crate::service::feed::Event;

/// People come in groups; one group is heard of at a time.
pub(super) const GROUPS: usize = 6;
const GROUP: usize = 60;

/// The stream's beat, events in each, and beats until another group takes over.
const BEAT: Duration = Duration::from_millis(20);
const EVENTS_A_BEAT: usize = 5;
const BEATS_A_GROUP: usize = 600;

/// How much a burst is more, and how many beats it lasts, usually.
const BURST: usize = 10;
pub(super) const BEATS_A_BURST: usize = 150;

/// Events lie in the past, but not for long: a broker forgets which batches it has of an idempotent
/// producer when the time stamps of the newest are a day old, and takes one twice or not at all after
/// its next start. Nor may those of the longest run come to lie in the future, which it refuses.
const BEFORE_NOW: i64 = 22 * 3_600;
const SECONDS_BETWEEN: i64 = 30;

/// How long the broker may take for what is left in the end.
const LAST: Duration = Duration::from_secs(60);

/// The stream, as those see it who steer it.
#[derive(Default)]
pub(super) struct Traffic {
    over: AtomicBool,
    burst: AtomicUsize,
    group: AtomicUsize,
    sent: AtomicU64,
    /// The run has failed: nobody asks any more what arrived.
    failed: AtomicBool,
}

/// Ends the stream, also when the run fails.
pub(super) struct Ends<'t>(&'t Traffic);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.failed.store(std::thread::panicking(), Ordering::Relaxed);
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Traffic {
    /// What ends it when it goes out of scope.
    pub(super) fn ends(&self) -> Ends<'_> {
        Ends(self)
    }

    /// Ten times as much for a while.
    pub(super) fn burst(&self, beats: usize) {
        self.burst.store(beats, Ordering::Relaxed);
    }

    /// The group of which events come now.
    pub(super) fn group(&self) -> usize {
        self.group.load(Ordering::Relaxed)
    }

    /// Messages given to the producers so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends until it is over and everything is acknowledged; gives where the broker said that each lies.
    pub(super) fn run(&self, kafka: &Kafka, topic: &str, seed: u64) -> Vec<Acknowledged> {
        let mut stream = Stream {
            java: producer(kafka, "murmur2_random"),
            own: producer(kafka, "consistent_random"),
            topic,
            draw: Draw::new(seed ^ 0x5eed),
            people: (0..GROUPS * GROUP).map(|_| Person::default()).collect(),
            sent: 0,
            began: Timestamp::now().as_second() - BEFORE_NOW,
        };
        for beat in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let group = beat / BEATS_A_GROUP % GROUPS;
            self.group.store(group, Ordering::Relaxed);
            let left = self.burst.load(Ordering::Relaxed);
            self.burst.store(left.saturating_sub(1), Ordering::Relaxed);
            let count = if left > 0 { EVENTS_A_BEAT * BURST } else { EVENTS_A_BEAT };
            for _ in 0..count {
                stream.send(group);
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
            for producer in [&stream.java, &stream.own] {
                producer.poll(Duration::ZERO);
            }
            sleep(BEAT);
        }
        let mut acknowledged = Vec::new();
        if self.failed.load(Ordering::Relaxed) {
            return acknowledged;
        }
        for producer in [&stream.java, &stream.own] {
            producer.flush(LAST).expect("the broker acknowledges everything in time");
            let mut its = producer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
            acknowledged.append(&mut its);
        }
        assert_eq!(acknowledged.len(), stream.sent, "what was sent is acknowledged");
        acknowledged
    }
}

/// A message that the broker has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    /// What the header [`NUMBER`] says.
    pub(super) number: usize,
    /// Where it lies, as the broker said.
    pub(super) place: (i32, i64),
}

/// The header that numbers messages.
pub(super) const NUMBER: &str = "number";

/// Someone of whom events come.
#[derive(Default)]
struct Person {
    events: usize,
    last: Option<Event>,
}

struct Stream<'t> {
    /// Places keys as Java's client does, which is where the bridge is at home.
    java: BaseProducer<Deliveries>,
    /// Places keys as librdkafka does.
    own: BaseProducer<Deliveries>,
    topic: &'t str,
    draw: Draw,
    people: Vec<Person>,
    sent: usize,
    /// The time of everybody's first event, seconds since 1970.
    began: i64,
}

/// Which people a group has: `g2-17` is one of the third.
pub(super) fn people_of(group: usize) -> String {
    format!("g{group}-%")
}

impl Stream<'_> {
    fn send(&mut self, group: usize) {
        let member = self.draw.below(GROUP);
        let user = format!("g{group}-{member}");
        let person = &mut self.people[group * GROUP + member];
        let event = match (self.draw.below(100), person.last.take()) {
            // Again, as a client does that got no answer.
            (0..5, Some(last)) => last,
            _ => {
                person.events += 1;
                let ago = i64::try_from(person.events).expect("few events") * SECONDS_BETWEEN;
                Event::at(&user, member, person.events, self.began + ago)
            }
        };
        let refused = match self.draw.below(100) {
            0 => Some("no JSON".to_owned()),
            1 => Some(format!("{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"metrics\":{{}}}}")),
            2 => Some(event.value.replace("\"timestamp\":", "\"time\":")),
            _ => None,
        };
        // Who a user's events come from stays the same; only the last quarter is spread.
        let (producer, key, partition) = match member % 4 {
            0 | 1 => (&self.java, Some(user.as_bytes()), None),
            2 => (&self.own, Some(user.as_bytes()), None),
            _ => (&self.java, None, Some(self.draw.below(3))),
        };
        let value = refused.as_deref().unwrap_or(&event.value).as_bytes();
        self.sent += 1;
        let number = self.sent.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: NUMBER, value: Some(&number) });
        let mut record: BaseRecord<'_, [u8], [u8], Box<usize>> =
            BaseRecord::with_opaque_to(self.topic, Box::new(self.sent))
                .payload(value)
                .timestamp(event.record_time)
                .headers(headers);
        record.key = key;
        record.partition = partition.map(|partition| i32::try_from(partition).expect("few"));
        while let Err((error, back)) = producer.send(record) {
            let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            assert!(full, "sending: {error}");
            producer.poll(BEAT);
            record = back;
        }
        if refused.is_none() {
            person.last = Some(event);
        }
    }
}

fn producer(kafka: &Kafka, partitioner: &str) -> BaseProducer<Deliveries> {
    let mut client = kafka.client();
    client.set("enable.idempotence", "true").set("linger.ms", "5");
    client.set("message.timeout.ms", "0").set("partitioner", partitioner);
    client.create_with_context(Deliveries::default()).expect("a producer can be made")
}

/// Collects what the broker has taken.
#[derive(Default)]
struct Deliveries(Mutex<Vec<Acknowledged>>);

impl ClientContext for Deliveries {
    /// A broker that is away is what is wanted.
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let Ok(message) = result else { return };
        let place = (message.partition(), message.offset());
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push(Acknowledged { number: *number, place });
    }
}
