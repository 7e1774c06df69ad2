//! Events of made-up people, the same in every run.

use std::sync::atomic::{AtomicBool, Ordering};

use super::site::Site;
use crate::servers::{Kafka, Outgoing};

/// 2025-03-03T08:00:00Z.
pub(crate) const MORNING: i64 = 1_740_988_800;

/// An event to send.
pub(crate) struct Event {
    pub(crate) user: String,
    pub(crate) value: String,
    /// Milliseconds since 1970.
    pub(crate) record_time: i64,
}

impl Event {
    /// The `number`th event of a user whose readings jump about, so that modes change often.
    pub(crate) fn of(user: &str, seed: usize, number: usize) -> Self {
        let seconds = MORNING + i64::try_from(number).expect("few events") * 120;
        Self::at(user, seed, number, seconds)
    }

    /// The `number`th event of a user who has an hour of strain, an hour of calm, and so on.
    pub(crate) fn swinging(user: &str, number: usize) -> Self {
        let seconds = MORNING + i64::try_from(number).expect("few events") * 120;
        let beats = number % 7;
        let (hrv, heart_rate, stress) = match number / 30 % 2 {
            0 => (30 + beats, 100 + beats, 95),
            _ => (60 + beats, 60 + beats, 10),
        };
        let value = format!(
            "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
             \"timestamp\":{seconds},\"metrics\":{{\"hrv\":{hrv},\"heart_rate\":{heart_rate},\
             \"stress_level\":0.{stress}}}}}"
        );
        Self { user: user.to_owned(), value, record_time: (seconds + 1) * 1_000 }
    }

    /// The same at another time, seconds since 1970.
    pub(crate) fn at(user: &str, seed: usize, number: usize, seconds: i64) -> Self {
        let heart_rate = 55 + (number * 37 + seed * 13) % 90;
        let hrv = 20 + (number * 23 + seed * 7) % 70;
        let stress = (number * 3 + seed) % 10;
        let value = format!(
            "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
             \"timestamp\":{seconds},\"metrics\":{{\"hrv\":{hrv},\"heart_rate\":{heart_rate},\
             \"stress_level\":0.{stress}}}}}"
        );
        Self { user: user.to_owned(), value, record_time: (seconds + 1) * 1_000 }
    }

    /// The same as a message, keyed by its user.
    pub(crate) fn keyed(&self) -> Outgoing<'_> {
        Outgoing {
            key: Some(self.user.as_bytes()),
            value: Some(self.value.as_bytes()),
            timestamp: Some(self.record_time),
            ..Outgoing::default()
        }
    }
}

/// So many events of each of so many users, the users taking turns.
pub(crate) fn crowd(users: usize, events_each: usize) -> Vec<Event> {
    (0..events_each)
        .flat_map(|number| {
            (0..users).map(move |user| Event::of(&format!("user-{user}"), user, number))
        })
        .collect()
}

/// Sends events keyed by user, in portions, so that the stream takes a while and never waits long.
pub(crate) fn stream(kafka: &Kafka, topic: &str, events: &[Event], portion: usize) {
    for portion in events.chunks(portion) {
        let messages: Vec<Outgoing<'_>> = portion.iter().map(Event::keyed).collect();
        kafka.produce(topic, &messages);
    }
}

/// Events that keep coming for as long as a test needs.
#[derive(Default)]
pub(crate) struct Flow {
    over: AtomicBool,
}

/// Ends a flow, also when its test fails.
pub(crate) struct Ends<'f>(&'f Flow);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Events that may be sent and not read: while nobody reads, the flow waits and does not swell.
const UNREAD_MAX: usize = 1_000;

impl Flow {
    /// What ends it when it goes out of scope.
    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends(self)
    }

    /// Sends an event of each user in turn until the end; gives how many those were.
    pub(crate) fn run(&self, site: &Site<'_>, users: usize) -> usize {
        let mut sent = 0;
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let event = |user| Event::of(&format!("user-{user}"), user, number);
            let round: Vec<Event> = (0..users).map(event).collect();
            stream(site.kafka, &site.topics.events, &round, users);
            sent += users;
            site.wait_read_or(sent.saturating_sub(UNREAD_MAX), || {
                self.over.load(Ordering::Relaxed)
            });
        }
        sent
    }
}
