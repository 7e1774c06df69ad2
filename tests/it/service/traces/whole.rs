//! One trace, whole: from a producer's header by all stations to everything that leaves, through a collector by others.

use serde_json::{Value, json};

use super::{PRODUCER, TRACE, about, records, send, send_to, site, traceparent};
use crate::servers::{Collector, Rotel, Span};
use crate::service::http::issuer::{SigningKey, set_of};
use crate::service::http::people::trust_at;
use crate::service::push_client::peer::{Manners, Peer};
use crate::service::site::{LANES, Site};
use crate::service::sockets::client::open;

/// The spans below another, with their kinds, by name.
fn below<'s>(spans: &'s [Span], parent: &Span) -> Vec<(&'s str, i32)> {
    let is_below = |span: &&Span| span.parent == parent.id && span.trace == parent.trace;
    let mut names: Vec<_> =
        spans.iter().filter(is_below).map(|span| (span.name.as_str(), span.kind)).collect();
    names.sort_unstable();
    names
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let mut all = spans.iter().filter(|span| span.trace == TRACE && span.name == name);
    let span = all.next().unwrap_or_else(|| panic!("no {name} in {spans:?}"));
    assert!(all.next().is_none(), "one {name}");
    span
}

#[test]
fn one_trace_leads_from_a_producers_header_to_everything_that_leaves() {
    if !Rotel::available() {
        return;
    }
    let collector = Collector::start();
    let rotel = Rotel::start(&collector.url());
    let Some(mut site) = site(&rotel.url()) else { return };
    let peer = Peer::start(Manners::default());
    let key = SigningKey::elliptic("e");
    trust_at(&mut site, &set_of(&[&key]));
    for (name, value) in [
        ("WEBSOCKET_URL", peer.url().as_str()),
        ("LOG_LEVEL", "info,actors=debug"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ("OTEL_SERVICE_NAME", "bridge-in-test"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,team=a%2Cb"),
    ] {
        site.set(name, value);
    }
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let mut socket = open(&bridge, &key.token("somebody", "operator"));
    socket.say(&json!({"type": "subscribe", "users": "*", "after": null}));
    assert_eq!(socket.message()["type"], "status", "from now on");
    let (partition, offset) = send(&site, "ada", Some(&traceparent(TRACE, "01")));
    assert_eq!(socket.message()["traceparent"], traceparent(TRACE, "01"));
    assert_eq!(socket.message()["type"], "alert");
    peer.wait("both messages", |seen| seen.messages.len() >= 2);
    let switches = site.kafka.read_at_least(&site.topics.transitions, 1);
    let alerts = site.kafka.read_at_least(&site.topics.alerts, 1);
    bridge.end();
    // The process, its five stations, four messages that left, and two that were handed out.
    let spans = collector
        .wait("whole trace", |spans| spans.iter().filter(|span| span.trace == TRACE).count() >= 11);

    let process = format!("process {}", site.topics.events);
    let record = named(&spans, &process);
    the_record_says_where_it_lay(&site, record, (partition, offset));
    let (to_switches, to_alerts) =
        (format!("send {}", site.topics.transitions), format!("send {}", site.topics.alerts));
    let mut wanted = vec![
        ("ingest", 1),
        ("step", 1),
        ("alert", 1),
        ("commit", 1),
        (to_switches.as_str(), 4),
        (to_alerts.as_str(), 4),
        ("send push", 4),
        ("send push", 4),
    ];
    wanted.sort_unstable();
    assert_eq!(below(&spans, record), wanted, "{spans:?}");
    stations_follow_each_other(&spans);
    let handed_out: Vec<_> = spans.iter().filter(|span| span.name == "send sockets").collect();
    assert_eq!(handed_out.len(), 2, "both were handed out to a socket");
    assert!(handed_out.iter().all(|span| span.trace == TRACE && span.parent == PRODUCER));

    // Whoever reads what left continues from the span that sent it.
    let header = |messages, user| about(messages, user).header("traceparent").map(str::to_owned);
    assert_eq!(header(&switches, "ada"), Some(named(&spans, &to_switches).traceparent()));
    assert_eq!(header(&alerts, "ada"), Some(named(&spans, &to_alerts).traceparent()));
    let body: Value = serde_json::from_str(about(&alerts, "ada").text()).expect("JSON");
    assert_eq!(body["traceparent"], traceparent(TRACE, "01"), "the body names the producer's");

    // A log line says in which span it was written.
    let step = named(&spans, "step");
    let log = bridge.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.filter(|line| line["trace_id"] == TRACE).collect();
    assert!(lines.iter().any(|line| line["span_id"] == step.id.as_str()), "{lines:?}");

    assert_eq!(record.resource["service.name"], "bridge-in-test");
    assert_eq!(record.resource["team"], "a,b");
    the_batch_names_its_record(&spans, &process, record);
}

fn the_record_says_where_it_lay(site: &Site<'_>, record: &Span, (partition, offset): (i32, i64)) {
    assert_eq!((record.parent.as_str(), record.kind), (PRODUCER, 5));
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", &site.topics.events),
        ("messaging.destination.partition.id", &partition.to_string()),
        ("messaging.kafka.offset", &offset.to_string()),
        ("messaging.consumer.group.name", &site.group),
    ] {
        assert_eq!(record.attribute(name), value, "{name}");
    }
}

fn stations_follow_each_other(spans: &[Span]) {
    let [ingest, step, alert, commit] =
        ["ingest", "step", "alert", "commit"].map(|name| named(spans, name));
    for (before, after) in [(ingest, step), (step, alert), (alert, commit)] {
        assert!(before.ended <= after.began, "{before:?} {after:?}");
    }
    let sent = spans.iter().filter(|span| span.name.starts_with("send ") && span.trace == TRACE);
    let sent: Vec<_> = sent.collect();
    assert!(sent.iter().all(|span| span.began >= commit.ended), "nothing leaves before: {sent:?}");
    assert!(sent.iter().all(|span| !span.failed));
}

/// A batch has a trace of its own, linked with the producers' spans of its records; the commit of a record is the
/// batch's, and linked with it.
fn the_batch_names_its_record(spans: &[Span], process: &str, record: &Span) {
    let batch =
        spans.iter().find(|span| span.attributes.contains_key("messaging.batch.message_count"));
    let batch = batch.expect("a batch");
    assert_eq!((batch.name.as_str(), batch.kind, batch.parent.as_str()), (process, 5, ""));
    assert_ne!(batch.trace, record.trace);
    assert_eq!(batch.links, [(TRACE.to_owned(), PRODUCER.to_owned())]);
    assert_eq!(batch.attribute("messaging.batch.message_count"), "1");
    assert_eq!(below(spans, batch), [("commit", 1)]);
    let commit = spans.iter().find(|span| span.parent == record.id && span.name == "commit");
    let linked = (batch.trace.clone(), batch.id.clone());
    assert_eq!(commit.expect("a commit").links, [linked]);
}

/// A record that comes in on another lane than its user's is followed there and at home, in one trace.
#[test]
fn a_record_that_is_forwarded_keeps_its_trace() {
    let collector = Collector::start();
    let Some(site) = site(&collector.url()) else { return };
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let lanes = i32::try_from(LANES).expect("few");
    let elsewhere = (actors::home::home("ada", lanes).0 + 1) % lanes;
    send_to(&site, "ada", Some(&traceparent(TRACE, "01")), elsewhere);
    site.kafka.read_at_least(&site.topics.transitions, 1);
    bridge.end();
    let spans = collector.spans();
    let followed = records(&spans);
    let mut topics: Vec<_> =
        followed.iter().map(|span| span.attribute("messaging.destination.name")).collect();
    topics.sort_unstable();
    assert_eq!(topics, [site.topics.events.as_str(), site.topics.by_user.as_str()]);
    assert!(
        followed
            .iter()
            .all(|span| (span.trace.as_str(), span.parent.as_str()) == (TRACE, PRODUCER))
    );
    let forwarded = site.kafka.read_at_least(&site.topics.by_user, 1);
    let header = forwarded[0].header("traceparent").map(str::to_owned);
    assert_eq!(header, Some(traceparent(TRACE, "01")), "headers are forwarded unchanged");
}
