//! Topics and messages of a broker: made, sent and read back as a test wants them, without an async runtime.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{
    BorrowedMessage, DeliveryResult, Header, Headers, Message as _, OwnedHeaders,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::Kafka;

/// How long a broker may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);
/// One look for messages, and how many looks in vain are too many.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 300;

/// A message to send. What is `None` the client chooses.
#[derive(Default)]
pub(crate) struct Outgoing<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// A header may have no value.
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    pub(crate) partition: Option<i32>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

/// A message as a consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

impl Message {
    /// The value as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("the value is UTF-8")
    }

    /// The last header of that name, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(its, _)| its == name)?;
        value.as_deref().map(|value| std::str::from_utf8(value).expect("the header is UTF-8"))
    }

    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Self {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
        }
    }
}

impl Kafka {
    /// Creates a topic with settings such as `("cleanup.policy", "compact")`, and waits until it can be used.
    pub(crate) fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client can be made");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        // On a thread of its own, because a test may already be inside a runtime, which must not block.
        let created = std::thread::scope(|scope| {
            let create = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                Ok::<_, std::io::Error>(runtime.block_on(admin.create_topics([&topic], &options)))
            };
            scope.spawn(create).join().expect("creating a topic does not panic")
        });
        let results = created.expect("a runtime can be made").expect("the broker answers");
        results.into_iter().for_each(|result| {
            result.unwrap_or_else(|(topic, error)| panic!("topic {topic}: {error}"));
        });
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        let wanted = usize::try_from(partitions).expect("a topic has at least one partition");
        for _ in 0..LOOKS_MAX {
            if self.partitions(&consumer, name).len() == wanted {
                return;
            }
            std::thread::sleep(LOOK / 4);
        }
        panic!("topic {name} has no leaders");
    }

    /// Removes the records of a partition below an offset, as retention does it.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, below: i64) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client can be made");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, partition, Offset::Offset(below));
        added.expect("a partition can be added");
        let deleted = std::thread::scope(|scope| {
            let delete = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                Ok::<_, std::io::Error>(runtime.block_on(admin.delete_records(&list, &options)))
            };
            scope.spawn(delete).join().expect("deleting records does not panic")
        });
        let deleted = deleted.expect("a runtime can be made").expect("the broker answers");
        for element in deleted.elements() {
            element.error().expect("the broker deletes");
            assert_eq!(element.offset(), Offset::Offset(below), "where the log begins now");
        }
    }

    /// Deletes a topic, and waits until it is gone.
    pub(crate) fn delete_topic(&self, name: &str) {
        let admin: AdminClient<DefaultClientContext> =
            self.client().create().expect("an admin client can be made");
        let options = AdminOptions::new().operation_timeout(Some(ANSWER));
        let deleted = std::thread::scope(|scope| {
            let delete = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                Ok::<_, std::io::Error>(runtime.block_on(admin.delete_topics(&[name], &options)))
            };
            scope.spawn(delete).join().expect("deleting a topic does not panic")
        });
        let results = deleted.expect("a runtime can be made").expect("the broker answers");
        results.into_iter().for_each(|result| {
            result.unwrap_or_else(|(topic, error)| panic!("topic {topic}: {error}"));
        });
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        for _ in 0..LOOKS_MAX {
            if self.partitions(&consumer, name).is_empty() {
                return;
            }
            std::thread::sleep(LOOK / 4);
        }
        panic!("topic {name} does not go away");
    }

    /// Sends messages in order, waits until all are acknowledged, and gives the partition and offset of each.
    pub(crate) fn produce(&self, topic: &str, messages: &[Outgoing<'_>]) -> Vec<(i32, i64)> {
        let mut client = self.client();
        client.set("enable.idempotence", "true").set("linger.ms", "1");
        client.set("message.max.bytes", (8 << 20).to_string());
        let producer: BaseProducer<Deliveries> =
            client.create_with_context(Deliveries::default()).expect("a producer can be made");
        for (number, message) in messages.iter().enumerate() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in message.headers {
                headers = headers.insert(Header { key, value: *value });
            }
            let mut record: BaseRecord<'_, [u8], [u8], Box<usize>> =
                BaseRecord::with_opaque_to(topic, Box::new(number)).headers(headers);
            record.key = message.key;
            record.payload = message.value;
            record.partition = message.partition;
            record.timestamp = message.timestamp;
            producer.send(record).unwrap_or_else(|(error, _)| panic!("sending: {error}"));
            producer.poll(Duration::ZERO);
        }
        producer.flush(ANSWER).expect("the broker acknowledges in time");
        let mut done = producer.context().0.lock().expect("no delivery panicked");
        done.sort_unstable_by_key(|(number, _)| *number);
        let placed = done.drain(..).map(|(_, place)| place.expect("the broker takes the message"));
        placed.collect()
    }

    /// Everything that a topic holds now, by partition and offset; of transactions, what is committed.
    pub(crate) fn read_all(&self, topic: &str) -> Vec<Message> {
        let mut client = self.client();
        // A consumer needs a group even when it takes its partitions itself; it commits nothing there.
        client.set("group.id", "read-all").set("enable.auto.commit", "false");
        client.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
        client.set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = client.create().expect("a consumer can be made");
        let mut open = self.partitions(&consumer, topic);
        assert!(!open.is_empty(), "topic {topic} does not exist");
        let mut from_the_start = TopicPartitionList::new();
        for partition in &open {
            let added = from_the_start.add_partition_offset(topic, *partition, Offset::Beginning);
            added.expect("a partition can be added");
        }
        consumer.assign(&from_the_start).expect("partitions can be assigned");
        let mut messages = Vec::new();
        let mut looks = 0;
        while !open.is_empty() {
            match consumer.poll(LOOK) {
                Some(Ok(message)) => messages.push(Message::of(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.retain(|its| *its != partition);
                }
                // The client itself tries again.
                Some(Err(_)) | None => looks += 1,
            }
            assert!(looks < LOOKS_MAX, "topic {topic} cannot be read to its end");
        }
        messages.sort_by_key(|message| (message.partition, message.offset));
        messages
    }

    /// Everything that a topic holds, once it holds at least so many messages.
    pub(crate) fn read_at_least(&self, topic: &str, count: usize) -> Vec<Message> {
        for _ in 0..LOOKS_MAX {
            let messages = self.read_all(topic);
            if messages.len() >= count {
                return messages;
            }
            std::thread::sleep(LOOK);
        }
        panic!("topic {topic} does not get {count} messages in time");
    }

    /// The offset behind the last message of each partition.
    pub(crate) fn ends(&self, topic: &str) -> Vec<i64> {
        let consumer: BaseConsumer = self.client().create().expect("a consumer can be made");
        let mut partitions = self.partitions(&consumer, topic);
        partitions.sort_unstable();
        let end = |partition| consumer.fetch_watermarks(topic, partition, ANSWER);
        partitions.into_iter().map(|p| end(p).expect("the broker answers").1).collect()
    }

    /// What a consumer group has committed for a topic, summed over its partitions.
    pub(crate) fn committed(&self, group: &str, topic: &str) -> i64 {
        let consumer: BaseConsumer =
            self.client().set("group.id", group).create().expect("a consumer can be made");
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(&consumer, topic) {
            asked.add_partition(topic, partition);
        }
        let committed = consumer.committed_offsets(asked, ANSWER).expect("the broker answers");
        committed.elements().iter().filter_map(|its| its.offset().to_raw()).filter(|o| *o > 0).sum()
    }

    /// What every client of this broker is told.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.bootstrap());
        // A broker that starts again is found at once, not after the usual ten seconds.
        client.set("reconnect.backoff.max.ms", "500");
        client
    }

    /// The partitions of a topic that have a leader.
    fn partitions(&self, consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
        let metadata = consumer.fetch_metadata(Some(topic), ANSWER).expect("the broker answers");
        let topics = metadata.topics().iter().filter(|its| its.error().is_none());
        let partitions = topics.flat_map(|topic| topic.partitions());
        let led = partitions.filter(|its| its.leader() >= 0 && its.error().is_none());
        led.map(|partition| partition.id()).collect()
    }
}

/// Collects where messages went, each with its number.
#[derive(Default)]
struct Deliveries(Mutex<Vec<(usize, Place)>>);

/// Partition and offset of a message, or why it has none.
type Place = Result<(i32, i64), KafkaError>;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let place = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().expect("no delivery panicked").push((*number, place));
    }
}
