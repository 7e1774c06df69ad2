//! Dead letters as they left: the record as it was sent, and what was wrong with it.

use std::collections::BTreeMap;

use super::check::by_place;
use super::site::Site;
use crate::servers::Message;

/// Where a record lay: topic, partition, offset.
type Place = (String, i32, i64);

/// Checks the topic of dead letters against the tables and against what was sent.
pub(crate) fn all_left(site: &Site<'_>) {
    let topics = &site.topics;
    let mut stored: BTreeMap<Place, String> = BTreeMap::new();
    for row in site.sql("SELECT source, lane, log_offset, reason FROM dead_letters").lines() {
        let columns: Vec<&str> = row.split('|').collect();
        let topic = if columns[0] == "0" { &topics.events } else { &topics.by_user };
        let place = (topic.clone(), number(columns[1]), number(columns[2]));
        stored.insert(place, columns[3].to_owned());
    }
    let sent = published(site);
    let reasons: BTreeMap<Place, String> = sent
        .iter()
        .map(|(place, letter)| {
            (place.clone(), letter.header("dlq.reason").expect("why").to_owned())
        })
        .collect();
    assert_eq!(reasons, stored, "dead letters on the topic and in the tables");
    for topic in [&topics.events, &topics.by_user] {
        let originals = by_place(site, topic);
        for ((_, partition, offset), letter) in sent.iter().filter(|((its, _, _), _)| its == topic)
        {
            untouched(letter, &originals[&(*partition, *offset)]);
        }
    }
}

/// The dead letters on the topic, by where their records lay.
pub(crate) fn published(site: &Site<'_>) -> BTreeMap<Place, Message> {
    let mut found = BTreeMap::new();
    for letter in site.messages(&site.topics.dead_letters) {
        let header = |name: &str| letter.header(name).expect("the header is there");
        let place = (
            header("dlq.topic").to_owned(),
            number(header("dlq.partition")),
            number(header("dlq.offset")),
        );
        assert_eq!(header("dlq.version"), "1");
        assert!(!header("dlq.detail").is_empty() && header("dlq.failed_at").ends_with('Z'));
        // After a fault a letter may come again.
        found.insert(place, letter);
    }
    found
}

/// The same by partition and offset of the topic of events, where their records were sent to.
pub(crate) fn published_by_origin(site: &Site<'_>) -> BTreeMap<(i32, i64), Message> {
    let forwarded = by_place(site, &site.topics.by_user);
    let origin = |place: &(i32, i64)| {
        let header = |name: &str| forwarded[place].header(name).expect("the header is there");
        (number(header("origin.partition")), number(header("origin.offset")))
    };
    let letters = published(site).into_iter();
    let by_origin = letters.map(|((topic, partition, offset), letter)| {
        let place = (partition, offset);
        (if topic == site.topics.by_user { origin(&place) } else { place }, letter)
    });
    by_origin.collect()
}

/// The letter has the record's key, value and headers, and behind them its own.
fn untouched(letter: &Message, original: &Message) {
    assert_eq!(letter.key, original.key);
    assert!(letter.value == original.value, "the value is as it was sent");
    let mut headers = original.headers.clone();
    headers.retain(|(name, _)| !name.starts_with("origin."));
    assert_eq!(letter.headers[..headers.len()], headers);
    let added = &letter.headers[headers.len()..];
    assert_eq!(added.len(), 7);
    assert!(added.iter().all(|(name, _)| name.starts_with("dlq.")));
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}
