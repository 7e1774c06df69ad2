//! Whatever client sends a user's events, under whatever key: each is applied once, at one home.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::check;
use super::feed::Event;
use super::site::{Site, Stamps};
use crate::servers::{Outgoing, kcat, python};

const USERS: usize = 20;
const EVENTS_EACH: usize = 12;

/// Murmur2 for keys, as Java does it.
const KAFKA_PYTHON: &str = "import sys; from kafka import KafkaProducer\n\
    producer = KafkaProducer(bootstrap_servers=sys.argv[1])\n\
    for line in sys.stdin:\n\
    \x20   key, value = line.rstrip('\\n').split('|', 1)\n\
    \x20   producer.send(sys.argv[2], key=key.encode(), value=value.encode())\n\
    producer.flush(); producer.close()";

/// CRC32 for keys, as librdkafka does it unless told otherwise.
const CONFLUENT: &str = "import sys; from confluent_kafka import Producer\n\
    producer = Producer({'bootstrap.servers': sys.argv[1]})\n\
    for line in sys.stdin:\n\
    \x20   key, value = line.rstrip('\\n').split('|', 1)\n\
    \x20   producer.produce(sys.argv[2], key=key, value=value)\n\
    sys.exit(producer.flush(30))";

/// The events of one producer, a line each; no two producers send the same.
fn lines(producer: usize) -> String {
    let events = (0..EVENTS_EACH).flat_map(|number| {
        (0..USERS).map(move |user| {
            let event = Event::of(&format!("user-{user}"), user, number * 4 + producer);
            format!("{}|{}\n", event.user, event.value)
        })
    });
    events.collect()
}

fn send(program: &Path, arguments: &[&str], lines: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the client starts");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("the client reads");
    let output = child.wait_with_output().expect("the client ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn events_keyed_by_any_partitioner_or_not_at_all_are_applied_once_each() {
    let Some(site) = Site::shared(Stamps::Broker) else { return };
    let bridge = site.start();
    let (address, topic) = (site.kafka.bootstrap(), site.topics.events.as_str());
    std::thread::scope(|scope| {
        scope.spawn(|| send(python(), &["-c", KAFKA_PYTHON, &address, topic], &lines(0)));
        scope.spawn(|| send(python(), &["-c", CONFLUENT, &address, topic], &lines(1)));
        let kcat_options = ["-P", "-b", &address, "-t", topic, "-K", "|"];
        scope.spawn(move || send(kcat(), &kcat_options, &lines(2)));
        scope.spawn(|| {
            let lines = lines(3);
            let values = lines.lines().map(|line| line.split_once('|').expect("a key").1);
            let unkeyed: Vec<Outgoing<'_>> = values
                .zip((0..3).cycle())
                .map(|(value, partition)| Outgoing {
                    value: Some(value.as_bytes()),
                    partition: Some(partition),
                    ..Outgoing::default()
                })
                .collect();
            site.kafka.produce(topic, &unkeyed);
        });
    });
    check::all(&site);
    let all = i64::try_from(4 * USERS * EVENTS_EACH).expect("few");
    assert_eq!(site.number("SELECT count(*) FROM event_records"), all);
    assert_eq!(site.number("SELECT count(*) FROM dead_letters"), 0);
    let forwarded = site.number("SELECT sum(events_forwarded) FROM lanes");
    assert!(forwarded > all / 4, "{forwarded} of {all} events went by another lane");
    bridge.end();
}
