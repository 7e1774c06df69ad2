//! Events come and the database stands still: the service takes as many bytes of them as its settings
//! say, leaves the rest in Kafka, and goes on when the database does.

use std::ops::Range;
use std::time::Duration;

use super::feed::{self, Event, MORNING};
use super::site::{LANES, Site, Stamps};

/// Of a lane, MiB: `kafka.queue_bytes_max`, and `batch.bytes_max` for each of three batches in flight.
const LANE: usize = 1 + 3;
/// The broker's answer may be larger than what the queue has room for: by the largest message, of each
/// of a lane's two topics.
const FETCH: usize = 2 * 4;
/// Twice that: an event is there as it came and as what became of it.
const MORE_MAX: usize = 2 * LANES * (LANE + FETCH);
const EVENTS: i64 = 3_000;

/// An event with much in it that nobody reads.
fn large(number: i64) -> Event {
    let (user, seconds) = (format!("user-{}", number % 100), MORNING + number);
    let value = format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
         \"timestamp\":{seconds},\"metrics\":{{\"heart_rate\":60}},\"note\":\"{}\"}}",
        "x".repeat(64 * 1_024)
    );
    Event { user, value, record_time: (seconds + 1) * 1_000 }
}

fn send(site: &Site<'_>, numbers: Range<i64>) {
    let events: Vec<Event> = numbers.map(large).collect();
    feed::stream(site.kafka, &site.topics.events, &events, 300);
}

#[test]
fn while_the_database_stands_still_memory_stays_within_the_bytes_that_are_set() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    site.set("BRIDGE__KAFKA__QUEUE_BYTES_MAX", "1MiB");
    site.set("BRIDGE__BATCH__BYTES_MAX", "1MiB");
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    send(&site, 0..300);
    site.wait_caught_up();
    let memory = || bridge.metric("process_resident_memory_bytes") / 1_048_576.0;
    let before = memory();
    let mut session = site.postgres.session(&site.database);
    session.run("BEGIN; LOCK TABLE lanes IN ACCESS EXCLUSIVE MODE");
    send(&site, 300..EVENTS);
    let mut most = before;
    for _ in 0..50 {
        most = most.max(memory());
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(session);
    site.wait_caught_up();
    assert_eq!(site.number("SELECT count(*) FROM event_records"), EVENTS);
    let more = most - before;
    assert!(more <= MORE_MAX as f64, "{more} MiB more, of at most {MORE_MAX}");
    bridge.end();
}
