//! `send` puts events into the log as a producer would.

use std::process::Output;

use actors::home::home;
use serde_json::{Value, json};

use super::bare;
use crate::servers::{Kafka, Message, Server as _, Servers};
use crate::support::{stderr, stdout};

/// A topic for one test.
struct Topic {
    kafka: &'static Kafka,
    name: &'static str,
}

const PARTITIONS: i32 = 7;

impl Topic {
    /// `None` when there are no servers and that is allowed.
    fn new(name: &'static str) -> Option<Self> {
        if !Servers::available() {
            return None;
        }
        let kafka = &Servers::shared().kafka;
        kafka.topic(name, PARTITIONS, &[("retention.ms", "-1"), ("max.message.bytes", "2000000")]);
        Some(Self { kafka, name })
    }

    fn send(&self, arguments: &[&str], input: &str) -> Output {
        let (servers, topic) =
            (self.kafka.bootstrap(), format!("kafka.topics.events={}", self.name));
        let common = ["send", "--bootstrap-servers", &servers, "--set", &topic];
        let mut command = bare(&[&common, arguments].concat());
        command.write_stdin(input).output().expect("the program starts")
    }

    fn read(&self) -> Vec<Message> {
        self.kafka.read_all(self.name)
    }
}

fn event(user: &str) -> Value {
    json!({"user_id": user, "timestamp": 1_740_988_800, "metrics": {"hrv": 50}})
}

fn key(message: &Message) -> Option<&str> {
    message.key.as_deref().map(|key| std::str::from_utf8(key).expect("UTF-8"))
}

#[test]
fn one_event_from_flags_is_sent_and_its_place_is_told() {
    let Some(topic) = Topic::new("send-flags") else { return };
    let output = topic.send(
        &[
            "--user",
            "ada",
            "--metric",
            "hrv=44.9",
            "--metric",
            "heart_rate=66",
            "--device",
            "ring",
            "--event-type",
            "vitals",
            "--timestamp",
            "2025-03-03T08:00:00Z",
            "--session",
            "s1",
        ],
        "",
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let partition = home("ada", PARTITIONS).0;
    assert_eq!(stdout(&output), format!("sent to send-flags, partition {partition}, offset 0\n"));
    let read = topic.read();
    assert_eq!((read.len(), read[0].partition, key(&read[0])), (1, partition, Some("ada")));
    let value: Value = serde_json::from_str(read[0].text()).expect("JSON");
    let expected = json!({
        "user_id": "ada", "device_id": "ring", "event_type": "vitals", "session_id": "s1",
        "timestamp": "2025-03-03T08:00:00Z", "metrics": {"hrv": 44.9, "heart_rate": 66},
    });
    assert_eq!(value, expected);
    let output = topic.send(&["--user", "me", "--metric", "stress_level=0.95"], "");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn flags_that_make_no_event_are_told_before_anybody_is_asked() {
    for (arguments, said) in [
        (&["--user", "me"][..], "--metric"),
        (&["--metric", "hrv=1"], "--user"),
        (&["--user", "me", "--metric", "hrv"], "NAME=NUMBER"),
        (&["--user", "me", "--metric", "hrv=high"], "NAME=NUMBER"),
        (&["--user", "me", "--metric", "hrv=1", "--timestamp", "soon"], "bad_timestamp"),
        (&["--user", "me", "--metric", "hrv=1", "--timestamp", "2999-01-01T00:00:00Z"], "future"),
        (&["--user", "", "--metric", "hrv=1"], "bad_user_id"),
        (&["--user", "me", "--metric", "hrv=1", "events.ndjson"], "cannot be used with"),
        (&["--rate", "0"], "0.001"),
    ] {
        let output = bare(&[&["send"], arguments].concat()).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn lines_go_to_the_home_partitions_of_their_users_in_order() {
    let Some(topic) = Topic::new("send-lines") else { return };
    let users = ["ada", "bob", "élise", "21", "x"];
    let lines: String =
        (0..50).map(|i| format!("  {}\r\n", event(users[i % users.len()]))).collect();
    let output = topic.send(&[], &lines);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = stderr(&output).trim_end();
    assert!(summary.starts_with("biometric-bridge: sent 50 events in "), "{summary}");
    assert!(summary.ends_with(" s to send-lines"), "{summary}");
    let read = topic.read();
    assert_eq!(read.len(), 50);
    for message in &read {
        let user = key(message).expect("a key");
        assert_eq!(message.partition, home(user, PARTITIONS).0, "{user}");
        assert_eq!(message.text(), event(user).to_string());
    }
}

#[test]
fn a_log_keeps_its_times_headers_and_raw_messages() {
    let Some(topic) = Topic::new("send-log") else { return };
    let cloud_event = json!({
        "record_time_ms": 1_740_988_802_000_i64, "value": event("ada"),
        "headers": {"ce_specversion": "1.0", "ce_source": "ring"},
    });
    let raw = json!({"record_time_ms": 1_740_988_803_000_i64, "value": "not {json"});
    let output = topic.send(&["--log", "-"], &format!("{cloud_event}\n\n{raw}\n"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("sent 2 events"), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 event went without a key"), "{}", stderr(&output));
    let read = topic.read();
    let of = |text: &str| read.iter().find(|message| message.text() == text).expect("it is there");
    let sent = of(&event("ada").to_string());
    assert_eq!(sent.timestamp, Some(1_740_988_802_000));
    assert_eq!(
        (sent.header("ce_specversion"), sent.header("ce_source")),
        (Some("1.0"), Some("ring"))
    );
    assert_eq!((key(sent), sent.partition), (Some("ada"), home("ada", PARTITIONS).0));
    let raw = of("not {json");
    assert_eq!((raw.timestamp, key(raw)), (Some(1_740_988_803_000), None));
}

#[test]
fn a_topic_that_stamps_on_arrival_is_told_to_lose_the_log_s_times() {
    if !Servers::available() {
        return;
    }
    let kafka = &Servers::shared().kafka;
    kafka.topic("send-stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let topic = Topic { kafka, name: "send-stamped" };
    let line = json!({"record_time_ms": 1, "value": event("ada")}).to_string();
    let output = topic.send(&["--log"], &line);
    assert!(output.status.success());
    assert!(stderr(&output).contains("times are lost"), "{}", stderr(&output));
}

#[test]
fn a_malformed_line_stops_or_is_skipped() {
    let Some(topic) = Topic::new("send-malformed") else { return };
    let long = "x".repeat((16 << 20) + 1);
    let too_large = format!("{{\"user_id\":\"big\",\"pad\":\"{}\"}}", "x".repeat(5 << 20));
    let lines =
        format!("{}\n[1]\nx\n{long}\n{too_large}\n{{\"no\":1}}\n{}\n", event("ada"), event("bob"));
    let output = topic.send(&[], &lines);
    assert_eq!(output.status.code(), Some(65));
    let told = "standard input, line 2: not one event as a JSON object";
    assert!(stderr(&output).contains(told), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("sent 1 event in"),
        "what came before is sent: {}",
        stderr(&output)
    );
    let output = topic.send(&["--keep-going"], &lines);
    assert!(output.status.success(), "{}", stderr(&output));
    for told in [
        "line 2: not one event",
        "line 3: not one event",
        "line 4: longer than 16777216 bytes",
        "line 5: its message of 52429",
        "sent 3 events in",
        "skipped 4 malformed lines",
        "1 event went without a key",
    ] {
        assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
    }
    assert_eq!(topic.read().len(), 4);
}

#[test]
fn what_the_brokers_refuse_is_told_with_its_line() {
    let Some(topic) = Topic::new("send-refused") else { return };
    let large = format!("{{\"user_id\":\"big\",\"pad\":\"{}\"}}", "x".repeat(3 << 20));
    let output = topic.send(&[], &format!("{}\n{large}\n", event("ada")));
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    let told = "1 event of 2 was not delivered to ";
    assert!(stderr(&output).contains(told), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("the first in line 2: it is larger than"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn of_nothing_it_is_said_that_nothing_was_sent() {
    let Some(topic) = Topic::new("send-nothing") else { return };
    let output = topic.send(&[], "\n\n");
    assert!(output.status.success());
    assert_eq!(stderr(&output), "biometric-bridge: nothing was sent\n");
    let output = topic.send(&["no-such.ndjson"], "");
    assert_eq!(output.status.code(), Some(66));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the fact is about how long it takes")]
fn a_rate_is_kept() {
    let Some(topic) = Topic::new("send-rate") else { return };
    let lines: String = (0..11).map(|_| format!("{}\n", event("ada"))).collect();
    let began = std::time::Instant::now();
    assert!(topic.send(&["--rate", "10"], &lines).status.success());
    assert!(began.elapsed() >= std::time::Duration::from_secs(1));
}

#[test]
fn faults_of_other_settings_do_not_stop_it_and_faults_of_kafka_s_do() {
    let Some(topic) = Topic::new("send-settings") else { return };
    let (servers, name) = (topic.kafka.bootstrap(), topic.name);
    let send = |settings: &[&str]| {
        let mut command = bare(&["send", "--user", "me", "--metric", "hrv=50"]);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &servers).env("BRIDGE__KAFKA__TOPICS__EVENTS", name);
        command.env("LOG_LEVEL", "loud").env("REDIS_URL", "hunter2").args(settings);
        command.output().expect("the program starts")
    };
    let output = send(&[]);
    assert!(output.status.success(), "{}", stderr(&output));
    for (settings, said) in [
        (&["--set", "kafka.sasl_username=me"][..], "kafka.sasl_username"),
        (&["--set", "kafka.bootstrap_servers=kafka.example:9092"], "unencrypted"),
        (&["--set", "kfka.group=x"], "is no setting"),
    ] {
        let output = send(settings);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert!(!stderr(&output).contains("hunter2"));
    }
}

#[test]
fn who_is_not_there_is_named_with_the_reason_and_the_cure() {
    // Nobody listens on the port that tells what a service is.
    let send = |servers: &str| {
        let arguments = ["send", "--bootstrap-servers", servers, "--timeout", "1s"];
        bare(&arguments).args(["--user", "me", "--metric", "hrv=50"]).output().expect("it starts")
    };
    let output = send("127.0.0.1:1");
    assert_eq!(output.status.code(), Some(69));
    for told in ["no broker at 127.0.0.1:1 has answered within 1s", "refused", "look whether Kafka"]
    {
        assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
    }
    let Some(topic) = Topic::new("send-elsewhere") else { return };
    let output = topic.send(&["--set", "kafka.topics.events=send-no-such"], "{}");
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("there is no topic send-no-such"), "{}", stderr(&output));
    assert!(stderr(&output).contains("topics create"), "{}", stderr(&output));
}

#[test]
fn a_broker_that_falls_silent_is_told_as_events_not_delivered() {
    if !Servers::available() {
        return;
    }
    let kafka = Kafka::start();
    kafka.topic("biometric.events", 1, &[]);
    let servers = kafka.bootstrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_biometric-bridge"))
        .args(["send", "--bootstrap-servers", &servers, "--timeout", "2s"])
        .env_clear()
        .current_dir(crate::servers::folder())
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut write = |user: &str| {
        std::io::Write::write_all(&mut input, format!("{}\n", event(user)).as_bytes())
            .expect("read");
    };
    write("before");
    kafka.read_at_least("biometric.events", 1);
    kafka.pause();
    write("after");
    drop(input);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    // Whether the first one's answer still came through is the machine's affair.
    for told in ["delivered to", "no broker has taken it in time", "send what is missing again"] {
        assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
    }
}
