//! Every record of the topics, by the place where it lay: what became of it, and that this is one thing
//! only; and the order in which each partition's records were applied.

use std::collections::{BTreeMap, BTreeSet};

use neuros::time::{Micros, Timestamp};
use neuros::wire::{self, Intake};

use super::check::by_place;
use super::site::Site;
use crate::servers::Message;

/// Partition and offset.
type Place = (i32, i64);

/// What is stored of records, by the lane that read them and the offset.
struct Stored {
    /// Applied, with their users.
    records: BTreeMap<Place, i64>,
    dead_letters: BTreeSet<Place>,
}

impl Stored {
    fn of(site: &Site<'_>, source: u8) -> Self {
        let records = format!(
            "SELECT lane, log_offset, user_number FROM event_records WHERE source = {source}"
        );
        let letters = format!("SELECT lane, log_offset FROM dead_letters WHERE source = {source}");
        let records = rows(site, &records).map(|row| (place(&row), row[2]));
        Self {
            records: records.collect(),
            dead_letters: rows(site, &letters).map(|row| place(&row)).collect(),
        }
    }

    fn holds(&self, place: Place) -> bool {
        self.records.contains_key(&place) || self.dead_letters.contains(&place)
    }
}

/// A forwarded record: where it came from, and all the places at its home where it lies, with the generations in
/// which it was sent there.
type Forwarded = BTreeMap<Place, Vec<(i64, Place)>>;

/// Checks every record of an installation that has read everything.
pub(crate) fn all(site: &Site<'_>) {
    let events = by_place(site, &site.topics.events);
    let by_user = by_place(site, &site.topics.by_user);
    let forwarded = forwarded(&events, &by_user);
    let (here, at_home) = (Stored::of(site, 0), Stored::of(site, 1));
    let generation = site.number("SELECT generation FROM routing");
    let mut duplicates = Vec::new();
    let mut counts: BTreeMap<(i32, &str), i64> = BTreeMap::new();
    let mut count = |lane: i32, what| *counts.entry((lane, what)).or_default() += 1;
    for &(lane, offset) in events.keys() {
        let place = (lane, offset);
        match (here.holds(place), forwarded.contains_key(&place)) {
            // Sent on and not committed before its user found a new home: the one where it lies.
            (true, true) => assert!(
                forwarded[&place]
                    .iter()
                    .all(|(sent, to)| *sent < generation && !at_home.holds(*to)),
                "{place:?} is stored here and was forwarded, too"
            ),
            (true, false) => {}
            (false, true) => count(lane, "events_forwarded"),
            (false, false) => {
                count(lane, "events_duplicate");
                duplicates.push(place);
            }
        }
    }
    let mut origins: BTreeMap<Place, Place> = BTreeMap::new();
    for (origin, sent) in &forwarded {
        let places: Vec<Place> = sent.iter().map(|(_, place)| *place).collect();
        let stored: Vec<&Place> = places.iter().filter(|place| at_home.holds(**place)).collect();
        // The first of the newest generation that counts came to something; it may have been a repeat.
        let newest = places.last().map_or(0, |place| place.0);
        let first = places.iter().find(|place| place.0 == newest).copied();
        let taken = match stored[..] {
            [] if here.holds(*origin) => None,
            [] => {
                count(newest, "by_user_duplicate");
                duplicates.push(*origin);
                first
            }
            [place] => {
                origins.insert(*place, *origin);
                Some(*place)
            }
            _ => panic!("{origin:?} is stored more than once: {stored:?}"),
        };
        let skipped = places.iter().filter(|place| Some(**place) != taken);
        skipped.for_each(|place| count(place.0, "by_user_skipped"));
    }
    for place in at_home.records.keys().chain(&at_home.dead_letters) {
        assert!(origins.contains_key(place), "{place:?} of the forwarded ones is on no topic");
    }
    for place in here.records.keys().chain(&here.dead_letters) {
        assert!(events.contains_key(place), "{place:?} is stored and on no topic");
    }
    as_counted(site, &counts);
    let applied = here.records.keys().chain(at_home.records.keys().map(|its| &origins[its]));
    really_repeat(&events, &duplicates, applied);
    in_order(site, &origins);
}

/// The forwarded records, each the same as where it came from, and in one generation at one home only. One that was
/// sent on and not committed before users found new homes is sent on again, to the new one.
fn forwarded(events: &BTreeMap<Place, Message>, by_user: &BTreeMap<Place, Message>) -> Forwarded {
    let mut forwarded: BTreeMap<Place, Vec<(i64, Place)>> = BTreeMap::new();
    for (place, message) in by_user {
        let header = |name: &str| {
            let text = message.header(name).unwrap_or_else(|| panic!("{place:?} has no {name}"));
            text.parse::<i64>().unwrap_or_else(|_| panic!("{name} is {text}"))
        };
        let partition = i32::try_from(header("origin.partition")).expect("a partition");
        let origin = (partition, header("origin.offset"));
        let sent = events.get(&origin).unwrap_or_else(|| panic!("{place:?} comes from nowhere"));
        assert!(sent.value == message.value && sent.key == message.key, "{place:?} is changed");
        let sent = (header("origin.generation"), *place);
        forwarded.entry(origin).or_default().push(sent);
    }
    let in_order = |mut sent: Vec<(i64, Place)>| {
        sent.sort_unstable();
        let is_at_home = |sent: &[(i64, Place)]| sent.iter().all(|(_, to)| to.0 == sent[0].1.0);
        let mut of_one = sent.chunk_by(|one, next| one.0 == next.0);
        assert!(of_one.all(is_at_home), "two homes at once: {sent:?}");
        sent
    };
    forwarded.into_iter().map(|(origin, sent)| (origin, in_order(sent))).collect()
}

/// What was found is what the lanes have counted.
fn as_counted(site: &Site<'_>, counts: &BTreeMap<(i32, &str), i64>) {
    const COUNTED: [&str; 4] =
        ["events_forwarded", "events_duplicate", "by_user_duplicate", "by_user_skipped"];
    let sql = format!("SELECT lane, {} FROM lanes", COUNTED.join(", "));
    for row in rows(site, &sql) {
        let lane = i32::try_from(row[0]).expect("a lane");
        for (what, counted) in COUNTED.into_iter().zip(&row[1..]) {
            let found = counts.get(&(lane, what)).copied().unwrap_or_default();
            assert_eq!(found, *counted, "lane {lane}, {what}: found and counted");
        }
    }
}

/// What counts as a repeat is told by the same device of the same user, of the same kind and time, as
/// something that was applied.
fn really_repeat<'p>(
    events: &BTreeMap<Place, Message>,
    duplicates: &[Place],
    applied: impl Iterator<Item = &'p Place>,
) {
    let applied: BTreeSet<Identity> =
        applied.filter_map(|place| identity(&events[place])).collect();
    for place in duplicates {
        let identity = identity(&events[place]).expect("a repeat can be decoded");
        assert!(applied.contains(&identity), "{place:?} came to nothing and repeats nothing");
    }
}

/// User, device, kind and time of an event.
type Identity = (String, String, String, Timestamp);

fn identity(message: &Message) -> Option<Identity> {
    let headers = message.headers.iter();
    let headers = headers.map(|(name, value)| (&**name, value.as_deref().unwrap_or_default()));
    let value = message.value.as_deref().unwrap_or_default();
    let record_time = message.timestamp.map(Timestamp::from_millis);
    // Whether its time was acceptable has been decided.
    let intake = Intake { future_max: Micros::from_minutes(24 * 60), ..Intake::default() };
    let message = wire::Message { value, headers: headers.collect(), record_time };
    let record = wire::decode(&message, &intake).ok()?;
    Some((
        record.user_id.to_string(),
        record.device_id.to_string(),
        record.event_type.to_string(),
        record.time,
    ))
}

/// Each user's records of one partition were applied in its order.
fn in_order(site: &Site<'_>, origins: &BTreeMap<Place, Place>) {
    let sql = "SELECT lane, log_offset, user_number, source FROM event_records WHERE source <> 2
               ORDER BY user_number, number";
    let mut newest: BTreeMap<(i64, i32), i64> = BTreeMap::new();
    for row in rows(site, sql) {
        let place = place(&row);
        let (partition, offset) = if row[3] == 0 { place } else { origins[&place] };
        let before = newest.insert((row[2], partition), offset);
        assert!(before < Some(offset), "user {} got {partition}/{offset} too late", row[2]);
    }
}

fn place(row: &[i64]) -> Place {
    (i32::try_from(row[0]).expect("a lane"), row[1])
}

fn rows(site: &Site<'_>, sql: &str) -> impl Iterator<Item = Vec<i64>> {
    let text = site.sql(sql);
    let rows: Vec<Vec<i64>> = text.lines().map(numbers).collect();
    rows.into_iter()
}

fn numbers(line: &str) -> Vec<i64> {
    line.split('|').map(|column| column.parse().expect("a number")).collect()
}
