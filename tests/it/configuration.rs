//! The settings as an operator meets them: `config check` and `config defaults`.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::support::{read, root, stderr, stdout};

/// A folder in which the program runs, with nothing of the project's and no environment.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// A place with a settings file where it is looked for.
    fn with_file(yaml: &str) -> Self {
        let place = Self::new();
        place.file("config/bridge.yaml", yaml);
        place
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
        command.current_dir(self.0.path()).env_clear().arg("config").args(arguments);
        command.env("POSTGRES_URL", "postgresql://auren_user:hunter2@postgres:5432/auren_db");
        // What is in the files is looked at by whoever listens.
        command.env("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", "/dev/null");
        command.env("BRIDGE__HTTP__TLS__KEY_FILE", "/dev/null");
        command
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        command.output().expect("the program starts")
    }
}

/// A key's value and source, as `config check` shows them.
fn shown(output: &Output, key: &str) -> (String, String) {
    assert!(output.status.success(), "{}", stderr(output));
    let line = stdout(output).lines().find(|line| line.starts_with(&format!("{key} ")));
    let line = line.unwrap_or_else(|| panic!("{key} is not shown"));
    let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).skip(1);
    let mut next = || columns.next().unwrap_or_default().to_owned();
    (next(), next())
}

#[test]
fn each_layer_wins_over_the_ones_before() {
    let place = Place::with_file("http:\n  bind: 127.0.0.1:1\n");
    let variable = ("HTTP_BIND", "127.0.0.1:2");
    let flag = "http.bind=127.0.0.1:3";
    for (file, arguments, variables, value, source) in [
        (false, &["check"][..], &[][..], "0.0.0.0:8002", "default"),
        (true, &["check"], &[], "127.0.0.1:1", "config/bridge.yaml:2"),
        (true, &["check"], &[variable], "127.0.0.1:2", "HTTP_BIND"),
        (true, &["check", "--set", flag], &[variable], "127.0.0.1:3", "command line"),
    ] {
        let place = if file { &place } else { &Place::new() };
        let output = place.run(arguments, variables);
        assert_eq!(shown(&output, "http.bind"), (value.into(), source.into()));
    }
}

#[test]
fn the_file_is_named_by_the_flag_else_by_the_variable_else_found() {
    let place = Place::with_file("workers: 1");
    let (second, third) = (place.file("2.yaml", "workers: 2"), place.file("3.yaml", "workers: 3"));
    let variable = ("BRIDGE_CONFIG", second.as_str());
    for (arguments, variables, workers) in [
        (&["check"][..], &[][..], "1"),
        (&["check"], &[variable], "2"),
        (&["check", "--config", &third], &[variable], "3"),
    ] {
        assert_eq!(shown(&place.run(arguments, variables), "workers").0, workers);
    }
}

#[test]
fn secrets_are_masked_wherever_they_come_from() {
    let place = Place::with_file("kafka: {sasl_password: hunter2, security_protocol: sasl_ssl}");
    let key = place.file("key", "hunter2\n");
    let variables = [
        ("OPENAI_API_KEY_FILE", key.as_str()),
        ("REDIS_URL", "rediss://:hunter2@redis:6379"),
        ("BRIDGE__KAFKA__SASL_MECHANISM", "scram-sha-512"),
        ("BRIDGE__KAFKA__SASL_USERNAME", "bridge"),
        ("WEBSOCKET_URL", "wss://auren-api/ws?token=hunter2"),
    ];
    let output = place.run(&["check"], &variables);
    for (key, value) in [
        ("store.url", "postgresql://auren_user:****@postgres:5432/auren_db"),
        ("redis.url", "rediss://:****@redis:6379"),
        ("kafka.sasl_password", "****"),
        ("kafka.sasl_mechanism", "SCRAM-SHA-512"),
        ("coach.openai_api_key", "****"),
        ("push.websocket_url", "wss://auren-api/ws?token=****"),
    ] {
        assert_eq!(shown(&output, key).0, value);
    }
    assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("hunter2"));
    assert!(stderr(&output).contains("OPENAI_API_KEY is unused: `coach.enabled` is false"));
    assert_eq!(stdout(&output), stdout(&place.run(&["check"], &variables)), "the same each time");
}

#[test]
fn all_faults_come_in_one_message_with_78() {
    let place = Place::with_file("redis: {timeout: 5}\nkafka: {grup_id: x}\n");
    let output = place.run(
        &["check", "--set", "batch.records_max=0", "--set", "hunter2"],
        &[("LOG_LEVEL", "loud"), ("REDIS_URL", "redis:hunter2"), ("KEY_FILE", "/nowhere")],
    );
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(stdout(&output), "");
    let expected = "biometric-bridge: the settings are not valid (7 faults):
  config/bridge.yaml:1: `redis.timeout` is `5`; wanted is a duration with its unit (d, h, m, s or ms) from 10ms to 1m
  config/bridge.yaml:2: `kafka.grup_id` is no setting; did you mean `kafka.group_id`?
  REDIS_URL: `redis.url` cannot be used (it is not shown); wanted is a URL such as rediss://:password@host:6379, or null
  LOG_LEVEL: `log.level` is `loud`; wanted is off, error, warn, info, debug or trace, perhaps followed by levels of parts: info,biometric_bridge=debug
  command line: `batch.records_max` is `0`; wanted is a whole number from 1 to 1000000
  KEY_FILE: `keys.file` names `/nowhere`, which cannot be read: No such file or directory (os error 2)
  command line: a --set has no `=`; wanted is --set KEY=VALUE
";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let place = Place::new();
    let huge = place.file("huge.yaml", vec![b'#'; 2 << 20]);
    let folder = place.0.path().to_str().expect("UTF-8").to_owned();
    for (path, problem) in [
        ("missing.yaml", "No such file or directory"),
        (&folder, "Is a directory"),
        (&huge, "it has more than 1048576 bytes"),
        ("/dev/zero", "it has more than 1048576 bytes"),
    ] {
        let output = place.run(&["check", "--config", path], &[]);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
}

#[test]
fn an_empty_file_leaves_the_defaults() {
    let bare = Place::new().run(&["check"], &[]);
    let empty = Place::with_file("").run(&["check"], &[]);
    assert_eq!(stdout(&bare), stdout(&empty));
    assert_eq!(shown(&bare, "policy.file").0, "null");
    let place = Place::new();
    place.file("config/neuros.yaml", "");
    assert_eq!(shown(&place.run(&["check"], &[]), "policy.file").0, "config/neuros.yaml");
}

#[test]
fn what_operators_deploy_today_starts_when_plaintext_is_allowed() {
    let today = [
        ("REDIS_URL", "redis://redis:6379"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:29092"),
        ("WEBSOCKET_URL", "ws://auren-api:8080/ws"),
        ("LOG_LEVEL", "INFO"),
        ("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", ""),
        ("BRIDGE__HTTP__TLS__KEY_FILE", ""),
    ];
    let place = Place::new();
    let refused = place.run(&["check"], &today);
    assert_eq!(refused.status.code(), Some(78));
    assert!(stderr(&refused).contains("(4 faults)"), "{}", stderr(&refused));
    // In development nobody but this machine asks us.
    for (arguments, notices) in [
        (&["check", "--set", "security.allow_plaintext=redis,kafka,websocket"][..], 4),
        (&["check", "--development"], 3),
    ] {
        let output = place.run(arguments, &today);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output).matches("unencrypted").count(), notices);
    }
}

#[test]
fn the_file_in_the_project_is_the_table_written_down() {
    let output = Place::new().run(&["defaults"], &[]);
    let told = "write it anew with `biometric-bridge config defaults > config/bridge.yaml`";
    assert!(read(&root().join("config/bridge.yaml")) == stdout(&output), "{told}");
    let place = Place::with_file(stdout(&output));
    let written = place.run(&["check"], &[]);
    let built_in = Place::new().run(&["check"], &[]);
    for line in stdout(&built_in).lines() {
        let key = line.split(' ').next().expect("a key");
        let (value, source) = shown(&written, key);
        assert_eq!(value, shown(&built_in, key).0, "{key}");
        if !["store.url", "policy.file"].contains(&key) && !key.starts_with("http.tls.") {
            assert!(source.starts_with("config/bridge.yaml:"), "{key} is missing: {source}");
        }
    }
}

#[test]
fn no_line_of_the_project_s_file_is_too_long_to_read() {
    for line in read(Path::new(&root().join("config/bridge.yaml"))).lines() {
        assert!(line.chars().count() <= 180, "{line}");
    }
}
