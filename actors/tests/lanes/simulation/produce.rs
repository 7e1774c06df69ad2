//! What producers send: measurements by users who may be keyed or not, repeats, revisions, late and early
//! ones, and everything that is no record. It knows nothing of what becomes of them.

use actors::home::home;
use actors::lane::{Lane, Source};

use super::plan::{Sending, Setting};
use crate::world::chance::Chance;

/// 2025-03-03T08:00:00Z, seconds since 1970.
pub(super) const MORNING: i64 = 1_740_988_800;
/// A second of the simulation is so many of the log's: moods last minutes.
pub(super) const PACE: i64 = 60;
/// Bytes of a message's value, at most.
pub(super) const BYTES_MAX: usize = 2_000;
/// Bytes of a forwarded record and of a dead letter, at most.
pub(super) const FORWARD_BYTES_MAX: usize = 1_500;
pub(super) const LETTER_BYTES_MAX: usize = 900;

/// Within so many milliseconds every producer learns of new partitions.
pub(super) const METADATA_AGE: u64 = 1_000;

/// How every user id begins, and every heart rate of a good record ends: nothing else says so.
pub(super) const USER: &str = "user-";
pub(super) const HEART_RATE_END: &str = ".03125";

/// The event type over which the evaluation panics.
pub(super) const POISON: &str = "poison";

/// How a user's producer chooses partitions.
#[derive(Clone, Copy)]
enum Partitioner {
    /// As Kafka's own default does.
    Key,
    /// Another hash.
    Other(i32),
    /// None: any partition.
    Any,
}

pub(super) struct Producer<'c> {
    chance: &'c Chance,
    lanes: i32,
    growth: Option<(u64, i32)>,
    users: Vec<(String, Partitioner)>,
    /// Newest first: sent, and by whom.
    sent: Vec<(usize, Sending)>,
    /// How many evaluations will panic.
    poison_left: u64,
    serial: u64,
}

impl<'c> Producer<'c> {
    pub(super) fn new(chance: &'c Chance, setting: &Setting) -> Self {
        let lanes = setting.lanes;
        let any_lane = || i32::try_from(chance.below(lanes.unsigned_abs().into())).unwrap();
        let users = setting.users.iter().map(|user| {
            let partitioner = match chance.below(4) {
                0 => Partitioner::Other(any_lane()),
                1 => Partitioner::Any,
                _ => Partitioner::Key,
            };
            (user.clone(), partitioner)
        });
        let users = users.collect();
        let poison_left = chance.of_these(&[0, 0, 1, 2]);
        let growth = setting.growth;
        Self { chance, lanes, growth, users, sent: Vec::new(), poison_left, serial: 0 }
    }

    fn any_of(&self, lanes: i32) -> Lane {
        Lane(i32::try_from(self.chance.below(lanes.unsigned_abs().into())).unwrap())
    }

    /// The partitions that a user's producer knows: they learn of new ones one after the other.
    fn lanes_at(&self, place: usize, at: u64) -> i32 {
        match self.growth {
            Some((since, lanes)) if at >= since + place as u64 * METADATA_AGE / 12 => lanes,
            _ => self.lanes,
        }
    }

    /// The next message, sent `at` milliseconds from the begin.
    pub(super) fn next(&mut self, at: u64) -> Sending {
        self.serial += 1;
        if let Some(again) = self.again(at) {
            return again;
        }
        let place = usize::try_from(self.chance.below(self.users.len() as u64)).unwrap();
        let (user, partitioner) = self.users[place].clone();
        let lanes = self.lanes_at(place, at);
        let lane = match partitioner {
            Partitioner::Key => home(&user, lanes),
            Partitioner::Other(lane) => Lane(lane),
            Partitioner::Any => self.any_of(lanes),
        };
        let key = matches!(partitioner, Partitioner::Key).then(|| user.clone());
        let value = self.value(&user, at);
        let mut headers = Vec::new();
        if self.chance.one_in(20) {
            // A producer that makes up its own.
            let made_up = [("origin.offset", "7"), ("origin.partition", "0"), ("trace", "x")];
            headers.extend(made_up.map(|(n, v)| (n.to_owned(), v.to_owned())));
        }
        let is_timeless = self.chance.one_in(40);
        let source = Source::Events;
        let sending = Sending { lane, source, key, value, headers, is_timeless };
        self.sent.insert(0, (place, sending.clone()));
        self.sent.truncate(40);
        sending
    }

    /// A repeat, perhaps on another partition, or a revision of something sent before.
    fn again(&mut self, at: u64) -> Option<Sending> {
        if !self.chance.one_in(7) || self.sent.is_empty() {
            return None;
        }
        let place = usize::try_from(self.chance.below(self.sent.len() as u64)).unwrap();
        let (user, mut sending) = self.sent[place].clone();
        if self.chance.one_in(3) {
            sending.lane = self.any_of(self.lanes_at(user, at));
        }
        if self.chance.one_in(4) {
            let value = sending.value.as_mut()?;
            *value = value.replacen("\"heart_rate\":", "\"heart_rate\":1", 1);
        }
        Some(sending)
    }

    fn value(&mut self, user: &str, at: u64) -> Option<String> {
        let seconds = MORNING + i64::try_from(at).unwrap() * PACE / 1_000;
        let late = match self.chance.below(20) {
            0 => i64::try_from(self.chance.below(172_800)).unwrap(),
            1..=4 => i64::try_from(self.chance.below(400)).unwrap(),
            // Early, but not too early.
            5..=8 => -i64::try_from(self.chance.below(240)).unwrap(),
            _ => i64::try_from(self.chance.below(3)).unwrap(),
        };
        let stress = self.chance.of_these(&["0.1", "0.2", "0.95"]);
        let heart_rate = 60 + self.chance.below(30);
        let recovery = match self.chance.one_in(8) {
            true => format!(r#","recovery_score":{}"#, self.chance.below(100)),
            false => String::new(),
        };
        let metrics = format!(
            r#""heart_rate":{heart_rate}{HEART_RATE_END},"stress_level":{stress}{recovery}"#
        );
        let time = seconds - late;
        let good = |kind: &str, more: &str| {
            format!(
                r#"{{"user_id":"{user}","device_id":"d","event_type":"{kind}","timestamp":{time}.{:03},"metrics":{{{metrics}}}{more}}}"#,
                self.serial % 1_000
            )
        };
        if self.chance.one_in(12) {
            return self.no_record(user, seconds, &good("vitals", ""));
        }
        if self.poison_left > 0 && self.chance.one_in(25) {
            self.poison_left -= 1;
            return Some(good(POISON, ""));
        }
        if self.chance.one_in(25) {
            // Fits where it arrives, and perhaps not where it is sent on.
            return Some(good("vitals", &format!(r#","padding":"{}""#, "x".repeat(1_250))));
        }
        let kind = self.chance.of_these(&["vitals", "vitals", "vitals", "sleep", "workout"]);
        Some(good(kind, ""))
    }

    /// Something that is no record, for each reason.
    fn no_record(&self, user: &str, seconds: i64, good: &str) -> Option<String> {
        let early = seconds + 7_200;
        Some(match self.chance.below(13) {
            0 => return None,
            1 => "not json".to_owned(),
            2 => "[1,2]".to_owned(),
            3 => good.replacen("user_id", "nobody", 1),
            4 => good.replacen(&format!("\"{user}\""), "5", 1),
            5 => good.replacen("timestamp", "some_time", 1),
            6 => format!(
                r#"{{"user_id":"{user}","timestamp":"noon","metrics":{{"heart_rate":60}}}}"#
            ),
            7 => good.replacen(r#""device_id":"d""#, r#""device_id":"\u0001""#, 1),
            8 => good.replacen(r#""event_type":"vitals""#, r#""event_type":"\u0001""#, 1),
            9 => format!(
                r#"{{"user_id":"{user}","timestamp":{early},"metrics":{{"heart_rate":60}}}}"#
            ),
            10 => format!(r#"{{"user_id":"{user}","timestamp":{seconds},"metrics":{{}}}}"#),
            11 => format!(r#"{{"user_id":"{user}","padding":"{}"}}"#, "x".repeat(BYTES_MAX)),
            _ => good[..good.len() / 2].to_owned(),
        })
    }
}

/// What somebody who must not writes to a by-user partition; a stranger's home is another lane.
pub(super) fn forged(chance: &Chance, lane: Lane, stranger: Option<&str>) -> Sending {
    let far = (1_i64 << 40).to_string();
    let before = (1_i64 << 39).to_string();
    let origin = |generation: &str, partition: &str, offset: &str, previous: &str| {
        let parts = [
            ("origin.generation", generation),
            ("origin.partition", partition),
            ("origin.offset", offset),
            ("origin.previous", previous),
            ("origin.time", ""),
        ];
        parts.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let headers = match chance.below(5) {
        0 => Vec::new(),
        1 => origin("1", "first", "0", "-1"),
        2 => origin("1", "99", "5", "-1"),
        3 => origin("7", "0", &far, "-1"),
        // Out of turn as well: the home is looked at first.
        _ => origin("1", "0", &far, &before),
    };
    let user = stranger.unwrap_or("user-0");
    let value =
        format!(r#"{{"user_id":"{user}","timestamp":{MORNING},"metrics":{{"heart_rate":60}}}}"#);
    let headers = match stranger {
        None if headers.iter().any(|(_, value)| *value == before) => Vec::new(),
        _ => headers,
    };
    Sending {
        lane,
        source: Source::ByUser,
        key: None,
        value: Some(value),
        headers,
        is_timeless: true,
    }
}
