//! A steady stream of events: by producers with two partitioners and by one that picks partitions itself,
//! some events twice, some records that are none, of people who come and go.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
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

/// How much a burst is more, and how many beats it lasts.
const BURST: usize = 10;
const BEATS_A_BURST: usize = 150;

/// How long the broker may take for what is left in the end.
const LAST: Duration = Duration::from_secs(60);

/// The stream, as those see it who steer it.
#[derive(Default)]
pub(super) struct Traffic {
    over: AtomicBool,
    burst: AtomicUsize,
    group: AtomicUsize,
    sent: AtomicU64,
}

/// Ends the stream, also when the run fails.
pub(super) struct Ends<'t>(&'t Traffic);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

impl Traffic {
    /// What ends it when it goes out of scope.
    pub(super) fn ends(&self) -> Ends<'_> {
        Ends(self)
    }

    /// Ten times as much for a few seconds.
    pub(super) fn burst(&self) {
        self.burst.store(BEATS_A_BURST, Ordering::Relaxed);
    }

    /// The group of which events come now.
    pub(super) fn group(&self) -> usize {
        self.group.load(Ordering::Relaxed)
    }

    /// Messages given to the producers so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends until it is over and everything is acknowledged; gives how many messages those were.
    pub(super) fn run(&self, kafka: &Kafka, topic: &str, seed: u64) -> u64 {
        let mut stream = Stream {
            java: producer(kafka, "murmur2_random"),
            own: producer(kafka, "consistent_random"),
            topic,
            draw: Draw::new(seed ^ 0x5eed),
            people: (0..GROUPS * GROUP).map(|_| Person::default()).collect(),
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
        let mut delivered = 0;
        for producer in [&stream.java, &stream.own] {
            producer.flush(LAST).expect("the broker acknowledges everything in time");
            assert_eq!(producer.context().lost.load(Ordering::Relaxed), 0, "every event is taken");
            delivered += producer.context().safe.load(Ordering::Relaxed);
        }
        assert_eq!(delivered, self.sent(), "what was sent is acknowledged");
        delivered
    }
}

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
                Event::of(&user, member, person.events)
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
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(self.topic)
            .payload(value)
            .timestamp(event.record_time)
            .headers(OwnedHeaders::new().insert(Header { key: "note", value: Some("chaos") }));
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

/// Counts what became of messages.
#[derive(Default)]
struct Deliveries {
    safe: AtomicU64,
    lost: AtomicU64,
}

impl ClientContext for Deliveries {
    /// A broker that is away is what is wanted.
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.safe } else { &self.lost };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
