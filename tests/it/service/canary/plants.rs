//! What is planted: events in every shape, records that are refused for every reason, and requests to every route, with
//! marks wherever somebody can put a text or a number.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use biometric_bridge::http::{Audience, ROUTES};
use neuros::wire::Reason;

use super::evidence::Evidence;
use crate::servers::{Bridge, Outgoing};
use crate::service::http::issuer::SigningKey;
use crate::service::http::office::{Answer, ask_as, send};
use crate::service::http::people::encoded;
use crate::service::rejected::refused;
use crate::service::site::{LANES, Site};

/// Every planted user id begins so; what follows is one digit.
pub(super) const PEOPLE: &str = "kanarie-p";
/// Every planted text that is about a body, or may be, begins so.
pub(super) const TEXTS: &str = "zebrafink-";
/// Every device begins so.
pub(super) const DEVICES: &str = "kestrel-";
/// Readings that nothing else has: HRV, heart rate, stress, recovery, and one that is out of range.
pub(super) const READINGS: [f64; 5] =
    [43.219_871, 141.735_193, 0.951_827_3, 31.572_914, 9_123.456_7];

pub(super) fn person(number: usize) -> String {
    format!("{PEOPLE}{number}")
}

/// An event of now with these metrics.
pub(super) fn event(user: &str, metrics: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"{DEVICES}d\",\"event_type\":\"vitals\",\
         \"session_id\":\"{TEXTS}session\",\"note\":\"{TEXTS}field\",\"timestamp\":\"{now}\",\
         \"metrics\":{{{metrics}}}}}"
    )
}

/// One with most readings, which leads to a mode and an alert.
pub(super) fn strained(user: &str) -> String {
    let [hrv, heart_rate, stress, ..] = READINGS;
    let metrics = format!("\"hrv\":{hrv},\"heart_rate\":{heart_rate},\"stress_level\":{stress}");
    event(user, &metrics)
}

/// A good event in each shape.
fn shapes(user: &str) -> Vec<String> {
    let [hrv, heart_rate, _, recovery, impossible] = READINGS;
    let now = jiff::Timestamp::now();
    let list = format!(
        "{{\"device_type\":\"{DEVICES}t\",\"user_id\":\"{user}\",\"timestamp\":\"{now}\",\
         \"readings\":[{{\"metric\":\"hrv\",\"value\":{hrv},\"confidence\":0.91}},\
         {{\"metric\":\"heart_rate\",\"value\":{impossible}}}]}}"
    );
    let single = format!(
        "{{\"user_id\":\"{user}\",\"device_type\":\"{DEVICES}t\",\"metric_type\":\"heart_rate\",\
         \"value\":{heart_rate},\"timestamp\":\"{now}\",\"metadata\":{{\"a\":\"{TEXTS}b\"}}}}"
    );
    let around = format!("\"specversion\":\"1.0\",\"time\":\"{now}\",\"source\":\"{DEVICES}s\"");
    let payload = event(user, &format!("\"recovery_score\":{recovery}"));
    let data = BASE64_STANDARD.encode(&payload);
    let structured = format!("{{{around},\"data\":{payload}}}");
    vec![list, single, structured, format!("{{{around},\"data_base64\":\"{data}\"}}")]
}

/// Sends good and bad records: each good one twice and to a home that is not its own, each bad one to its home and
/// to the topic of those who are at home, where it is misrouted.
pub(super) fn records(site: &Site<'_>) {
    let (first, fourth) = (person(1), person(4));
    let headers: &[(&str, Option<&[u8]>)] = &[
        ("note", Some(b"zebrafink-header")),
        ("traceparent", Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    ];
    let mut good: Vec<String> = (1..=6).map(|number| strained(&person(number))).collect();
    good.extend(shapes(&first));
    good.extend(shapes(&fourth));
    let to = |value: &'static str, partition| Outgoing {
        key: Some(b"kanarie-p1"),
        value: Some(value.as_bytes()),
        headers,
        partition: Some(partition),
        ..Outgoing::default()
    };
    let lanes = i32::try_from(LANES).expect("few");
    // As long as the process: they are lent to messages in many places.
    let mut messages = Vec::new();
    for value in good {
        let value: &'static str = value.leak();
        messages.extend((0..lanes).map(|partition| to(value, partition)));
    }
    let binary: &'static str = strained(&first).leak();
    let ce: &[(&str, Option<&[u8]>)] =
        &[("ce_specversion", Some(b"1.0")), ("ce_source", Some(b"kestrel-ce")), headers[0]];
    messages.push(Outgoing { headers: ce, ..to(binary, 0) });
    let mut bad: Vec<String> = Reason::ALL.into_iter().map(refused).collect();
    bad.push(strained("ada").replace("\"timestamp\":\"20", "\"timestamp\":\"29"));
    bad.push(format!("{TEXTS}no JSON {}", READINGS[0]));
    for value in bad {
        let value = value.replace("ada", &first).replace("45", &READINGS[0].to_string());
        let value = value.replace("yesterday", "zebrafink-yesterday");
        messages.push(to(value.leak(), 0));
    }
    site.kafka.produce(&site.topics.events, &messages);
    let misrouted = [to(strained(&first).leak(), 0), to("zebrafink-misrouted", 1)];
    site.kafka.produce(&site.topics.by_user, &misrouted);
}

/// Asks for every route with every method, with tokens that are good for it and tokens that are not.
pub(super) fn requests(bridge: &Bridge, key: &SigningKey, evidence: &mut Evidence) -> usize {
    let (first, second) = (person(1), person(2));
    let stranger = SigningKey::elliptic("e");
    let bearer = |token: &str| Some(format!("Authorization: Bearer {token}"));
    let credentials = [
        None,
        bearer("zebrafink-token.kanarie-p1.43.219871"),
        Some("Authorization: Basic kanarie-p1:zebrafink-secret".to_owned()),
        bearer(&stranger.token(&first, "self operator")),
        bearer(&key.token(&second, "self zebrafink-scope")),
        bearer(&key.token(&first, "self")),
        bearer(&key.token("kanarie-p9", "operator")),
    ];
    let queries =
        ["", "?after=0&limit=2", "?after=kanarie-p1", "?limit=43.219871", "?zebrafink-q=1"];
    let mut shown = 0;
    for route in ROUTES {
        let everybody =
            [encoded(&first), first.clone(), format!("{first}%zz"), format!("{first}%ff")];
        // Where nobody's id is in the path, it is the same path for all.
        let count = if route.pattern.contains("{user_id}") { everybody.len() } else { 1 };
        for who in &everybody[..count] {
            let path = route.pattern.replace("{user_id}", who).replace("{id}", "zebrafink-id");
            for (method, query) in [("GET", 0), ("GET", 1), ("GET", 2), ("GET", 3), ("GET", 4)]
                .into_iter()
                .chain(["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].map(|its| (its, 4)))
            {
                for credential in &credentials {
                    // What is no number keeps streams from beginning, which would go on for minutes.
                    let lines = [
                        "User-Agent: kanarie-p1",
                        "Cookie: zebrafink-c=43.219871",
                        "Last-Event-ID: zebrafink-l",
                    ];
                    let mut lines: Vec<String> = lines.map(str::to_owned).into();
                    lines.extend(credential.clone());
                    let path = format!("{path}{}", queries[query]);
                    let answer = ask_as(bridge, method, &path, &lines);
                    let shows = answer.status == 200 && route.audience == Audience::Readers;
                    shown += usize::from(shows);
                    evidence.answer(&format!("{method} {}", route.pattern), &answer, shows);
                }
            }
        }
    }
    shown
}

/// Asks for what is no route, and in words that are no HTTP.
pub(super) fn odd_requests(bridge: &Bridge, evidence: &mut Evidence) {
    let address = bridge.address();
    let long = "zebrafink-".repeat(2_000);
    for (number, request) in [
        "GET /kanarie-p1/zebrafink-path HTTP/1.1\r\nHost: kanarie-p1\r\nConnection: close\r\n\r\n",
        "GET /api/v1/users/kanarie-p1/zebrafink HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "KANARIE-P1 /api/v1/policy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "kanarie-p1 /ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /kanarie-p1 HTTP/9.9\r\n\r\n",
        "kanarie-p1 43.219871\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nzebrafink-name kanarie-p1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: kanarie-p1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzebrafink-chunk\r\n",
        "POST /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 16\r\n\r\n\
         zebrafink-body-1",
        "POST /ready HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\nzebrafink-body-2",
        &format!("GET /?{long} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        &format!("GET / HTTP/1.1\r\nHost: a\r\nX-Note: {long}\r\nConnection: close\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = send(address, request.as_bytes());
        match Answer::of(&answer) {
            Some(answer) => evidence.answer(&format!("odd request {number}"), &answer, false),
            None => evidence.said(format!("the answer to odd request {number}"), answer),
        }
    }
}
