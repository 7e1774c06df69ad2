//! Spans of single records and requests, as a collector gets them: which there are, what they continue and what continues
//! them, and that whoever collects them can hold up nothing.

mod link;
mod whole;

use std::time::{Duration, Instant};

use actors::home::home;

use super::http::office::ask_with;
use super::site::{LANES, Site, Stamps};
use crate::servers::{Bridge, Collector, Manner, Message, Outgoing, Span, folder};

/// A trace that a producer has begun, and its span; sampled.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";
/// What has become of spans.
const EXPORTED: &str = "biometric_spans_total{outcome=\"exported\"}";
const DROPPED: &str = "biometric_spans_total{outcome=\"dropped\"}";

/// Strain that is told at once.
const POLICY: &str = "selection: {cooldown: 0s}
alerts:
  rules:
    - {id: mode_reflex, title: Strain, mode: reflex, severity: high}
";

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{PRODUCER}-{flags}")
}

/// An installation that sends its spans to this address.
fn site(collector: &str) -> Option<Site<'static>> {
    let mut site = Site::shared(Stamps::Broker)?;
    let policy = folder().join(format!("{}.yaml", site.group));
    std::fs::write(&policy, POLICY).expect("a policy file");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
    site.set("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    site.set("BRIDGE__TRACES__EVERY", "20ms");
    site.set("BRIDGE__LOG__FORMAT", "json");
    Some(site)
}

/// Sends a reading of strain to the user's home, with this `traceparent`; gives where it lies.
fn send(site: &Site<'_>, user: &str, trace: Option<&str>) -> (i32, i64) {
    let lane = home(user, i32::try_from(LANES).expect("few"));
    send_to(site, user, trace, lane.0)
}

/// A reading of strain.
fn strain(user: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
         \"timestamp\":\"{now}\",\"metrics\":{{\"stress_level\":0.95}}}}"
    )
}

fn send_to(site: &Site<'_>, user: &str, trace: Option<&str>, partition: i32) -> (i32, i64) {
    let event = strain(user);
    let header = [("traceparent", trace.map(str::as_bytes))];
    let message = Outgoing {
        key: Some(user.as_bytes()),
        value: Some(event.as_bytes()),
        headers: if trace.is_some() { &header } else { &[] },
        partition: Some(partition),
        ..Outgoing::default()
    };
    site.kafka.produce(&site.topics.events, &[message])[0]
}

/// Spans of records, without those of batches.
fn records(spans: &[Span]) -> Vec<&Span> {
    let is_of_record = |span: &&Span| span.attributes.contains_key("messaging.kafka.offset");
    spans.iter().filter(is_of_record).collect()
}

fn count(bridge: &Bridge, said: &str) -> usize {
    bridge.log().matches(said).count()
}

/// The message about a user in a topic.
fn about<'m>(messages: &'m [Message], user: &str) -> &'m Message {
    let theirs = messages.iter().find(|message| message.key.as_deref() == Some(user.as_bytes()));
    theirs.unwrap_or_else(|| panic!("nothing of {user} in {messages:?}"))
}

/// Records with and without a trace, one of each kind: the names of their users.
fn one_of_each(site: &Site<'_>) {
    send(site, "sampled", Some(&traceparent(TRACE, "01")));
    send(site, "unsampled", Some(&traceparent("5bf92f3577b34da6a3ce929d0e0e4736", "00")));
    send(site, "none", None);
    for (user, wrong) in [
        ("short", "00-4bf92f3577b34da6-00f067aa0ba902b7-01"),
        ("zero", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        ("upper", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        ("words", "whatever"),
    ] {
        send(site, user, Some(wrong));
    }
}

#[test]
fn who_decided_before_is_heeded_and_of_the_others_the_ratio_is_followed() {
    let collector = Collector::start();
    let Some(mut site) = site(&collector.url()) else { return };
    site.set("OTEL_TRACES_SAMPLER_ARG", "0");
    let bridge = site.start();
    bridge.wait_ready();
    one_of_each(&site);
    site.wait_caught_up();
    // Ending sends what is left, so nothing can come later.
    bridge.end();
    let spans = collector.spans();
    let followed = records(&spans);
    assert_eq!(followed.len(), 1, "{spans:?}");
    assert_eq!((followed[0].trace.as_str(), followed[0].parent.as_str()), (TRACE, PRODUCER));
    let left = site.kafka.read_at_least(&site.topics.transitions, 7);
    let passed_on = about(&left, "unsampled").header("traceparent").map(str::to_owned);
    assert_eq!(passed_on, Some(traceparent("5bf92f3577b34da6a3ce929d0e0e4736", "00")));
    assert_eq!(about(&left, "none").header("traceparent"), None);
    assert_eq!(about(&left, "words").header("traceparent"), None);

    site.set("OTEL_TRACES_SAMPLER_ARG", "1");
    let bridge = site.start();
    bridge.wait_ready();
    one_of_each(&site);
    site.wait_caught_up();
    bridge.end();
    let spans = collector.spans().split_off(spans.len());
    let followed = records(&spans);
    assert_eq!(followed.len(), 6, "all but the unsampled one: {spans:?}");
    let of_producer: Vec<_> = followed.iter().filter(|span| span.parent == PRODUCER).collect();
    assert_eq!(of_producer.len(), 1, "a trace that cannot be read is none: {spans:?}");
    assert!(followed.iter().filter(|span| span.parent.is_empty()).count() == 5, "{spans:?}");
    assert!(spans.iter().all(|span| !span.trace.starts_with("5bf92f35")), "{spans:?}");
    // A batch is linked with each record of it that is followed, and with no other.
    let batches = spans.iter().filter(|span| span.name.starts_with("process "));
    let batches =
        batches.filter(|span| span.attributes.contains_key("messaging.batch.message_count"));
    let links: usize = batches.map(|batch| batch.links.len()).sum();
    assert_eq!(links, 6, "{spans:?}");
}

#[test]
fn nothing_is_followed_without_a_collector() {
    let Some(mut site) = site("") else { return };
    site.set("OTEL_TRACES_SAMPLER", "always_on");
    site.set("LOG_LEVEL", "trace");
    let bridge = site.start();
    bridge.wait_ready();
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    site.wait_caught_up();
    let left = site.kafka.read_at_least(&site.topics.transitions, 1);
    let passed_on = about(&left, "ada").header("traceparent").map(str::to_owned);
    assert_eq!(passed_on, Some(traceparent(TRACE, "01")), "the producer's, as it came");
    assert_eq!(bridge.metric("biometric_spans_total"), 0.0);
    bridge.end();
    assert!(!bridge.log().contains("trace_id"), "no line names a trace");
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    const RECORDS: i64 = 400;
    let collector = Collector::start();
    collector.turns(Manner::Hangs);
    let Some(mut site) = site(&collector.url()) else { return };
    site.set("OTEL_TRACES_SAMPLER", "always_on");
    site.set("BRIDGE__TRACES__QUEUE_SPANS_MAX", "64");
    site.set("BRIDGE__TRACES__TIMEOUT", "60s");
    let bridge = site.start();
    bridge.wait_ready();
    let events: Vec<(String, String)> = (0..RECORDS)
        .map(|number| format!("user-{}", number % 20))
        .map(|user| (user.clone(), strain(&user)))
        .collect();
    let messages: Vec<Outgoing<'_>> = events
        .iter()
        .map(|(user, event)| Outgoing {
            key: Some(user.as_bytes()),
            value: Some(event.as_bytes()),
            ..Outgoing::default()
        })
        .collect();
    site.kafka.produce(&site.topics.events, &messages);
    collector.wait_requests(1);
    site.wait_caught_up();
    assert_eq!(site.number("SELECT count(*) FROM event_records"), RECORDS);
    bridge.wait_metric(DROPPED, |dropped| dropped > 0.0);
    assert_eq!(bridge.metric(EXPORTED), 0.0, "the collector has taken nothing yet");
    assert_eq!(collector.requests(), 1, "it is still at the first");
    // Then it says no, and one line tells.
    collector.turns(Manner::Refuses);
    collector.wait_requests(2);
    for number in 0..4 {
        send(&site, &format!("refused-{number}"), None);
        site.wait_caught_up();
    }
    collector.wait_requests(4);
    bridge.wait_log("spans are dropped");
    assert_eq!(count(&bridge, "spans are dropped: the collector does not take them"), 1);
    bridge.wait_log("\"problem\":\"it answers 503\"");
    collector.turns(Manner::Takes);
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    collector.wait("span of the producer's trace", |spans| {
        spans.iter().any(|span| span.parent == PRODUCER)
    });
    bridge.wait_log("the collector takes spans again");
    bridge.wait_metric(EXPORTED, |exported| exported > 0.0);
    bridge.end();
}

#[test]
fn what_a_collector_rejects_counts_as_dropped() {
    let collector = Collector::start();
    collector.turns(Manner::TakesAllButOne);
    let Some(mut site) = site(&collector.url()) else { return };
    site.set("OTEL_TRACES_SAMPLER_ARG", "0");
    site.set("BRIDGE__TRACES__EVERY", "2s");
    let bridge = site.start();
    bridge.wait_ready();
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    bridge.wait_metric(EXPORTED, |exported| exported > 0.0);
    let requests = || f64::from(u32::try_from(collector.requests()).expect("few"));
    // One of each batch.
    bridge.wait_metric(DROPPED, |dropped| dropped > 0.0 && dropped == requests());
    bridge.end();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long an end takes is what is looked at")]
fn what_is_left_is_sent_when_the_service_ends_and_nobody_is_waited_for_long() {
    let collector = Collector::start();
    let Some(mut site) = site(&collector.url()) else { return };
    site.set("BRIDGE__TRACES__EVERY", "1m");
    let bridge = site.start();
    bridge.wait_ready();
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    site.wait_caught_up();
    assert_eq!(collector.requests(), 0, "nothing was due yet");
    bridge.end();
    assert_eq!(records(&collector.spans()).len(), 1);
    collector.turns(Manner::Hangs);
    let bridge = site.start();
    bridge.wait_ready();
    send(&site, "ada", Some(&traceparent(TRACE, "01")));
    site.wait_caught_up();
    let began = Instant::now();
    bridge.end();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(bridge.log().contains("the last spans did not reach the collector in time"));
}

#[test]
fn a_request_continues_its_trace_and_its_span_says_no_path() {
    let collector = Collector::start();
    let Some(mut site) = site(&collector.url()) else { return };
    site.set("OTEL_TRACES_SAMPLER_ARG", "0");
    let bridge = site.start();
    bridge.wait_ready();
    let sampled = format!("traceparent: {}", traceparent(TRACE, "01"));
    let lines = [sampled];
    assert_eq!(ask_with(&bridge, "/api/v1/users/ada/state?q=ada", &lines).status, 401);
    assert_eq!(ask_with(&bridge, "/ready", &lines).status, 200, "a probe is not followed");
    assert_eq!(ask_with(&bridge, "/no/such/ada", &lines).status, 404);
    assert_eq!(ask_with(&bridge, "/api/v1/users/ada/alerts", &[]).status, 401);
    bridge.end();
    let mut spans = collector.spans();
    spans.sort_by_key(|span| span.began);
    let seen: Vec<_> = spans
        .iter()
        .map(|span| (span.name.as_str(), span.attribute("http.response.status_code")))
        .collect();
    let known = "GET /api/v1/users/{user_id}/state";
    assert_eq!(seen, [(known, "401"), ("GET", "404")], "{spans:?}");
    for span in &spans {
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, PRODUCER));
        assert_eq!((span.kind, span.attribute("http.request.method")), (2, "GET"));
    }
    assert_eq!(spans[0].attribute("http.route"), "/api/v1/users/{user_id}/state");
    let bytes = collector.bytes();
    assert!(!String::from_utf8_lossy(&bytes).contains("ada"), "whose data was asked for");
}
