//! `doctor` looks at everything and says what is wrong.

use std::path::Path;
use std::process::Output;

use biometric_bridge::kafka::topics::{Plan, create};
use biometric_bridge::kafka::{Connection, Limits, TopicNames};
use biometric_bridge::store::{Options, open};
use serde_json::Value;

use super::bare;
use crate::servers::Servers;
use crate::support::{run, stderr, stdout};

/// A key file for one test.
fn key_file(folder: &Path) -> String {
    let path = folder.join("keys.txt").to_str().expect("UTF-8").to_owned();
    assert!(run(&["keys", "generate", "--output", &path], "").status.success());
    path
}

/// A key that signs, for one test.
fn signing_key(folder: &Path) -> String {
    let path = folder.join("audit.pem").to_str().expect("UTF-8").to_owned();
    assert!(run(&["audit", "init", "--output", &path], "").status.success());
    path
}

/// Topics with a prefix of their own, as the service wants them.
async fn topics(prefix: &str, servers: &str) -> TopicNames {
    let name = |end: &str| format!("{prefix}.{end}");
    let names = TopicNames {
        events: name("events"),
        by_user: name("by-user"),
        dead_letters: name("dlq"),
        alerts: name("alerts"),
        transitions: name("transitions"),
        audit: name("audit"),
    };
    let connection = Connection {
        bootstrap_servers: servers.to_owned(),
        security: Vec::new(),
        limits: Limits::default(),
    };
    let plan = Plan {
        partitions: 3,
        replication_factor: 1,
        min_insync_replicas: 1,
        retention_ms: 86_400_000,
        create_time: false,
    };
    create(&connection, &names, plan).await.expect("the topics are made");
    names
}

struct Doctor {
    variables: Vec<(&'static str, String)>,
}

impl Doctor {
    fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn with_topics(self, names: &TopicNames) -> Self {
        self.set("BRIDGE__KAFKA__TOPICS__EVENTS", &names.events)
            .set("BRIDGE__KAFKA__TOPICS__BY_USER", &names.by_user)
            .set("BRIDGE__KAFKA__TOPICS__DEAD_LETTERS", &names.dead_letters)
            .set("BRIDGE__KAFKA__TOPICS__ALERTS", &names.alerts)
            .set("BRIDGE__KAFKA__TOPICS__TRANSITIONS", &names.transitions)
            .set("BRIDGE__KAFKA__TOPICS__AUDIT", &names.audit)
    }

    fn with_certificate(self, folder: &Path) -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["bridge".to_owned()]);
        let issued = issued.expect("a certificate");
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("a path").to_owned()
        };
        let certificate = file("server.crt", issued.cert.pem());
        let key = file("server.key", issued.signing_key.serialize_pem());
        self.set("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", certificate)
            .set("BRIDGE__HTTP__TLS__KEY_FILE", key)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = bare(&[&["doctor"], arguments].concat());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.output().expect("the program starts")
    }
}

fn doctor() -> Doctor {
    Doctor { variables: vec![("HTTP_BIND", "127.0.0.1:0".to_owned())] }
}

/// The checks of a JSON report.
fn checks(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_str(stdout(output)).expect("JSON");
    report["checks"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn with_everything_in_its_place_nothing_fails() {
    if !Servers::available() {
        return;
    }
    let servers = Servers::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let names = topics("doctor-well", &servers.kafka.bootstrap()).await;
    let url = servers.postgres.database();
    let store = open(&url, &Options::default()).await.expect("a store");
    store.migrate_up().await.expect("the schema is made");
    store.close().await;
    let doctor = doctor()
        .set("KAFKA_BOOTSTRAP_SERVERS", servers.kafka.bootstrap())
        .set("POSTGRES_URL", &url)
        .set("REDIS_URL", servers.redis.url())
        .set("KEY_FILE", key_file(folder.path()))
        .set("BRIDGE__AUDIT__SIGNING_KEY_FILE", signing_key(folder.path()))
        .set("BRIDGE__AUDIT__CHECKPOINT_FILE", folder.path().join("c").to_str().expect("UTF-8"))
        .with_certificate(folder.path())
        .with_topics(&names);
    let output = doctor.run(&[]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    for told in [
        "ok    settings  the settings, without a file: valid",
        "ok    policy    the built-in policy: valid, version ",
        " wraps new keys",
        "ok    audit     ",
        ": signs as ",
        "its folder is there",
        "takes us",
        "PostgreSQL ",
        "write to a temporary table: done",
        "table lanes): there, and may be written",
        "ok    postgres  schema: all ",
        "speak plaintext: cluster ",
        "partitions of doctor-well.events and doctor-well.by-user: 3 each",
        "message.timestamp.type of doctor-well.events: LogAppendTime",
        "max.message.bytes of doctor-well.by-user: 4194304",
        "PONG of Redis ",
        "ok    http      listen on 127.0.0.1:0: free",
        "ok    http      certificate, keys and tokens: read",
    ] {
        assert!(stdout(&output).contains(told), "{told}\n{}", stdout(&output));
    }
    let output = doctor.run(&["--json"]);
    let report: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(report["ok"], true);
    let warned: Vec<_> =
        checks(&output).into_iter().filter(|check| check["status"] != "ok").collect();
    let copies = |check: &Value| check["answer"].as_str().is_some_and(|it| it.contains("copies 1"));
    assert!(warned.iter().all(copies), "only the single copies are warned of: {warned:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the fact is about how long it takes")]
fn against_nothing_every_part_fails_with_its_cure_and_nothing_hangs() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // Takes connections and says nothing, or takes none.
    for port in [listener.local_addr().expect("an address").port(), 1] {
        let began = std::time::Instant::now();
        let output = Doctor { variables: Vec::new() }
            .set("HTTP_BIND", &address)
            .set("KAFKA_BOOTSTRAP_SERVERS", format!("127.0.0.1:{port}"))
            .set("POSTGRES_URL", format!("postgresql://u:hunter2@127.0.0.1:{port}/none"))
            .set("REDIS_URL", format!("redis://:hunter2@127.0.0.1:{port}"))
            .set("KEY_FILE", "no-such-keys.txt")
            .set("BRIDGE__POLICY__FILE", "no-such-policy.yaml")
            .run(&["--json"]);
        assert!(began.elapsed() < std::time::Duration::from_secs(15));
        assert_eq!(output.status.code(), Some(69));
        let checks = checks(&output);
        for part in ["settings", "policy", "keys", "kafka", "postgres", "redis", "http"] {
            let fails = |check: &&Value| check["part"] == part && check["status"] == "fail";
            let failed = checks.iter().find(fails);
            let failed = failed.unwrap_or_else(|| panic!("{part} does not fail: {checks:?}"));
            assert!(failed["cure"].is_string(), "{failed}");
        }
        let all = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!all.contains("hunter2"), "{all}");
        assert!(stderr(&output).contains(" checks failed"));
    }
}

#[test]
fn what_is_missing_is_named_with_the_command_that_makes_it() {
    if !Servers::available() {
        return;
    }
    let servers = Servers::shared();
    let output = doctor()
        .set("KAFKA_BOOTSTRAP_SERVERS", servers.kafka.bootstrap())
        .set("POSTGRES_URL", servers.postgres.database())
        .set("BRIDGE__KAFKA__TOPICS__EVENTS", "doctor-nowhere")
        .run(&[]);
    assert_eq!(output.status.code(), Some(69));
    for told in [
        "FAIL  keys      KEY_FILE: not set",
        "FAIL  kafka     topic doctor-nowhere: not there; `biometric-bridge topics create`",
        "FAIL  postgres  schema: ",
        "`biometric-bridge migrate up` makes what is missing",
        "ok    redis     REDIS_URL: not set",
    ] {
        assert!(stdout(&output).contains(told), "{told}\n{}", stdout(&output));
    }
}

#[test]
fn topics_that_do_not_fit_together_are_told() {
    if !Servers::available() {
        return;
    }
    let kafka = &Servers::shared().kafka;
    kafka.topic("doctor-odd.events", 2, &[("retention.ms", "2000"), ("max.message.bytes", "1000")]);
    let compact = [("retention.ms", "1000"), ("cleanup.policy", "compact")];
    kafka.topic("doctor-odd.by-user", 3, &compact);
    let output = doctor()
        .set("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap())
        .set("BRIDGE__KAFKA__TOPICS__EVENTS", "doctor-odd.events")
        .set("BRIDGE__KAFKA__TOPICS__BY_USER", "doctor-odd.by-user")
        .run(&[]);
    for told in [
        "FAIL  kafka     partitions of doctor-odd.events and doctor-odd.by-user: 2 and 3",
        "warn  kafka     message.timestamp.type of doctor-odd.events: CreateTime",
        "warn  kafka     max.message.bytes of doctor-odd.events: 1000",
        "FAIL  kafka     max.message.bytes of doctor-odd.by-user: 1048588",
        "FAIL  kafka     cleanup.policy of doctor-odd.by-user: compact",
        "FAIL  kafka     retention.ms of doctor-odd.by-user: 1000",
    ] {
        assert!(stdout(&output).contains(told), "{told}\n{}", stdout(&output));
    }
}

#[test]
fn a_wrong_password_is_told_as_one_and_not_shown() {
    if !Servers::available() {
        return;
    }
    let postgres = crate::servers::Postgres::start(false);
    let url = postgres.database();
    postgres.psql(&url, "CREATE ROLE guarded LOGIN PASSWORD 'right'");
    let rules = postgres.psql(&url, "SHOW hba_file");
    std::fs::write(rules.trim(), "host all guarded all scram-sha-256\nhost all all all trust\n")
        .expect("the rules can be written");
    postgres.psql(&url, "SELECT pg_reload_conf()");
    let at = url.split_once('@').expect("a user").1;
    let look = |password: &str| {
        doctor().set("POSTGRES_URL", format!("postgresql://guarded:{password}@{at}")).run(&[])
    };
    let output = look("hunter2");
    assert!(stdout(&output).contains("SQLSTATE 28P01"), "{}", stdout(&output));
    assert!(stdout(&output).contains("look at user and password in POSTGRES_URL"));
    assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("hunter2"));
    let output = look("right");
    assert!(stdout(&output).contains("ok    postgres  log in to "), "{}", stdout(&output));
}

#[test]
fn what_settings_do_not_allow_is_not_asked() {
    let output = doctor()
        .set("BRIDGE__KAFKA__SASL_PASSWORD", "hunter2")
        .set("REDIS_URL", "redis://:hunter2@redis.example:6379")
        .set("POSTGRES_URL", "postgresql://u:hunter2@nowhere/db?pasword=hunter2")
        .run(&[]);
    assert_eq!(output.status.code(), Some(69));
    for part in ["kafka", "redis", "postgres"] {
        let line =
            stdout(&output).lines().find(|line| line.starts_with(&format!("FAIL  {part:<8}")));
        let told = "not valid, so nothing was asked";
        assert!(line.is_some_and(|line| line.contains(told)), "{}", stdout(&output));
    }
    assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("hunter2"));
}

#[test]
fn a_key_file_that_others_may_read_is_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = key_file(folder.path());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, open).expect("permissions can be set");
    let output = doctor().set("KEY_FILE", &path).run(&[]);
    assert!(
        stdout(&output).contains("0644: others than its owner may use it"),
        "{}",
        stdout(&output)
    );
}
