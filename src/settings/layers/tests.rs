//! The layers, each over the other, and their faults.

use std::os::unix::ffi::OsStringExt as _;

use secrecy::ExposeSecret as _;

use super::*;
use crate::settings::reference;

/// Layers with their folder.
struct Layers {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl Layers {
    /// A settings file with this text, a database, a certificate, and nothing else.
    fn of(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut layers = Self { folder, inputs: Inputs::default() };
        layers.inputs.file = Some(layers.file("bridge.yaml", yaml));
        layers
            .with("POSTGRES_URL", "postgresql://u:hunter2@db/bridge")
            .with("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", "/dev/null")
            .with("BRIDGE__HTTP__TLS__KEY_FILE", "/dev/null")
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn with(mut self, variable: &str, value: &str) -> Self {
        self.inputs.environment.insert(variable.into(), value.into());
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.inputs.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Loaded {
        Loaded::from_layers(&self.inputs).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The faults, without the folder that paths begin with.
    fn faults(&self) -> Vec<String> {
        let Err(Faults(faults)) = Loaded::from_layers(&self.inputs) else { return Vec::new() };
        let folder = format!("{}/", self.folder.path().display());
        faults.iter().map(|fault| fault.to_string().replace(&folder, "")).collect()
    }

    /// A key's value and source.
    fn shown(&self, path: &str) -> (String, String) {
        let loaded = self.load();
        let index = KEYS.iter().position(|key| key.path == path).expect("a key");
        let folder = format!("{}/", self.folder.path().display());
        let source = loaded.sources[index].to_string().replace(&folder, "");
        (KEYS[index].show(&loaded.settings), source)
    }
}

#[test]
fn an_empty_file_leaves_all_defaults() {
    let defaults = Settings { development: false, ..Settings::default() };
    for yaml in ["", "# nothing", "{}", "kafka:", "kafka:\n  topics:\n"] {
        let loaded = Layers::of(yaml).load();
        for (key, source) in KEYS.iter().zip(&loaded.sources) {
            let is_given = ["store.url", "policy.file"].contains(&key.path);
            if !is_given && !key.path.starts_with("http.tls.") {
                assert_eq!(key.show(&loaded.settings), key.show(&defaults), "{}", key.path);
                assert_eq!(*source, Source::Default, "{}", key.path);
            }
        }
    }
}

#[test]
fn the_reference_names_every_key_with_its_default_and_nothing_else() {
    let mut layers = Layers::of(&reference());
    layers.inputs.environment.clear();
    layers.inputs.development = true;
    let loaded = layers.load();
    let defaults = Settings::default();
    for (key, source) in KEYS.iter().zip(&loaded.sources) {
        // Where the policy is looked for depends on the folder.
        if key.path != "policy.file" {
            assert!(
                matches!(source, Source::File { line: Some(_), .. }),
                "{} is missing",
                key.path
            );
            assert_eq!(key.show(&loaded.settings), key.show(&defaults), "{}", key.path);
        }
    }
}

#[test]
fn later_layers_win_and_each_value_knows_its_source() {
    let mut layers = Layers::of("store:\n  connections_max: 9\n");
    assert_eq!(layers.shown("store.connections_max"), ("9".into(), "bridge.yaml:2".into()));
    layers = layers.with("BRIDGE__STORE__CONNECTIONS_MAX", "10");
    let variable = "BRIDGE__STORE__CONNECTIONS_MAX".to_owned();
    assert_eq!(layers.shown("store.connections_max"), ("10".into(), variable));
    layers = layers.set("store.connections_max", "11").set("store.connections_max", "12");
    assert_eq!(layers.shown("store.connections_max"), ("12".into(), "command line".into()));
    assert_eq!(layers.shown("batch.linger"), ("0s".into(), "default".into()));
}

#[test]
fn every_key_is_set_by_its_variable_and_by_the_command_line() {
    let values = Settings::default();
    for key in KEYS {
        let value = match key.path {
            "store.url" => "sqlite:other.db".to_owned(),
            "redis.url" => "rediss://redis".to_owned(),
            "push.websocket_url" => "wss://api/ws".to_owned(),
            "events.naive_timestamps" => "UTC".to_owned(),
            "security.allow_plaintext" => "kafka".to_owned(),
            "auth.algorithms" => "RS256,EdDSA".to_owned(),
            "http.origins" => "https://app.example".to_owned(),
            "http.tls.certificate_file" | "http.tls.key_file" => "/dev/null".to_owned(),
            _ => key.show(&values),
        };
        let mut layers = Layers::of("").with(&key.derived_variable(), &value);
        layers.inputs.environment.remove(OsStr::new("POSTGRES_URL"));
        layers.inputs.development = true;
        let looked_for = (key.path == "policy.file").then(|| "default".to_owned());
        let source = looked_for.clone().unwrap_or_else(|| key.derived_variable());
        assert_eq!(layers.shown(key.path).1, source);
        let layers = layers.set(key.path, &value);
        assert_eq!(layers.shown(key.path).1, looked_for.unwrap_or_else(|| "command line".into()));
    }
}

#[test]
fn short_variables_set_their_keys_and_empty_ones_count_as_absent() {
    let layers = Layers::of("log: {level: warn}")
        .with("REDIS_URL", "")
        .with("LOG_LEVEL", "INFO")
        .with("HTTP_BIND", "127.0.0.1:9000")
        .with("KAFKA_BOOTSTRAP_SERVERS", "localhost:1,localhost:2")
        .with("HOME", "/root")
        .with("BRIDGE_SERVICE_HOST", "10.0.0.1");
    assert_eq!(layers.shown("log.level"), ("info".into(), "LOG_LEVEL".into()));
    assert_eq!(layers.shown("redis.url"), ("null".into(), "default".into()));
    assert_eq!(layers.shown("http.bind").0, "127.0.0.1:9000");
    let settings = layers.load().settings;
    assert_eq!(settings.kafka.bootstrap_servers.to_string(), "localhost:1,localhost:2");
}

#[test]
fn a_value_is_taken_away_by_null() {
    let layers = Layers::of("redis: {url: 'rediss://redis'}").with("REDIS_URL", "null");
    assert_eq!(layers.shown("redis.url"), ("null".into(), "REDIS_URL".into()));
}

#[test]
fn secrets_may_stand_in_files() {
    let mut layers = Layers::of("");
    layers.inputs.environment.remove(OsStr::new("POSTGRES_URL"));
    let url = layers.file("pg", "postgresql://u:hunter2@db/bridge\n");
    let key = layers.file("openai", " sk-1 \n");
    let layers = layers
        .with("POSTGRES_URL_FILE", &url.to_string_lossy())
        .with("BRIDGE__COACH__OPENAI_API_KEY_FILE", &key.to_string_lossy());
    let seen = "postgresql://u:****@db/bridge";
    assert_eq!(layers.shown("store.url"), (seen.into(), "POSTGRES_URL_FILE (pg)".into()));
    let loaded = layers.load();
    assert_eq!(loaded.settings.store.url.expose(), "postgresql://u:hunter2@db/bridge");
    let key = loaded.settings.coach.openai_api_key.as_ref().expect("a key");
    assert_eq!(key.expose_secret(), "sk-1");
    assert_eq!(loaded.notices[0].text, "OPENAI_API_KEY is unused: `coach.enabled` is false");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(!format!("{loaded:?}").contains("sk-1"));
}

#[test]
fn all_faults_of_all_layers_are_named_at_once() {
    let yaml = "\
store:
  url: postgresql//u:hunter2@h
  conections_max: 4
kafka: {security_protocol: tls, sasl_password: 12345, fetch_wait: 5}
batch: 7
http.bind: 0.0.0.0:1
http: {bind: localhost}
log: {level: loud}
users: {live_max: 1}
batch: {}
events: {max_bytes: 2 MB, naive_timestamps: {oura: Atlantis}}
development: true
";
    let mut layers = Layers::of(yaml)
        .with("BRIDGE__KAFKA__GROUPID", "x")
        .with("BRIDGE__BATCH__LINGER", "soon")
        .with("OPENAI_API_KEY", "sk-1")
        .with("OPENAI_API_KEY_FILE", "/nowhere")
        .with("BRIDGE__KAFKA__SASL_PASSWORD_FILE", "/nowhere")
        .set("coach.enabled", "yes")
        .set("kafka", "x")
        .set("postgresql://u:hunter2@h/db?a", "b");
    let bytes = OsString::from_vec(vec![0xff]);
    layers.inputs.environment.insert("KEY_FILE".into(), bytes);
    let expected = [
        "bridge.yaml:2: `store.url` cannot be used (it is not shown); wanted is a URL such as postgresql://user:password@host:5432/database",
        "bridge.yaml:3: `store.conections_max` is no setting; did you mean `store.connections_max`?",
        "bridge.yaml:4: `kafka.security_protocol` is `tls`; wanted is plaintext, ssl, sasl_plaintext or sasl_ssl",
        "bridge.yaml:4: `kafka.sasl_password` is written as a number or a switch; a text needs quotes around it",
        "bridge.yaml:4: `kafka.fetch_wait` is `5`; wanted is a duration with its unit (d, h, m, s or ms) from 1ms to 10s",
        "bridge.yaml:5: `batch` is a number; wanted are keys below it",
        "bridge.yaml:6: `http.bind` cannot be written so; write the section, and the key below it",
        "bridge.yaml:7: `http.bind` is `localhost`; wanted is an IP address and a port, such as 0.0.0.0:8002 or [::]:8002",
        "bridge.yaml:8: `log.level` is `loud`; wanted is off, error, warn, info, debug or trace, perhaps followed by levels of parts: info,biometric_bridge=debug",
        "bridge.yaml:9: `users.live_max` is `1`; wanted is a whole number from 100 to 100000000",
        "bridge.yaml:10: `batch` stands on line 5 already; keep one",
        "bridge.yaml:11: `events.max_bytes` is `2 MB`; wanted is a size with its unit (B, KiB, MiB or GiB) from 1 KiB to 64 MiB",
        "bridge.yaml:11: `events.naive_timestamps` names `Atlantis`, which is no zone of the IANA database, such as Europe/Berlin",
        "bridge.yaml:12: `development` is set by the flag --development only",
        "BRIDGE__KAFKA__SASL_PASSWORD_FILE (/nowhere): `kafka.sasl_password` stands in a file that cannot be read: No such file or directory (os error 2)",
        "BRIDGE__BATCH__LINGER: `batch.linger` is `soon`; wanted is a duration with its unit (d, h, m, s or ms) from 0s to 10s",
        "KEY_FILE: `keys.file` is not UTF-8",
        "OPENAI_API_KEY: `coach.openai_api_key` is set by OPENAI_API_KEY and by OPENAI_API_KEY_FILE; keep one of them",
        "BRIDGE__KAFKA__GROUPID: `kafka.groupid` is no setting; did you mean `BRIDGE__KAFKA__GROUP_ID`?",
        "command line: `coach.enabled` is `yes`; wanted is true or false",
        "command line: `kafka` is a section; name a key below it",
        "command line: `(a name that is not shown)` is no setting; `biometric-bridge config defaults` lists all",
    ];
    assert_eq!(layers.faults(), expected);
}

#[test]
fn no_fault_quotes_a_secret() {
    for yaml in [
        "store: {url: hunter2}",
        "store: {url: 'mysql://u:hunter2@h/db'}",
        "store: {url: 'postgresql://u:p/hunter2@h/db'}",
        "store: {url: 'postgresql://u@h/db?pasword=hunter2'}",
        "store: {url: [hunter2]}",
        "store: {url: !!int hunter2}",
        "store: {url: *hunter2}",
        "store: {url: !hunter2 x}",
        "store: {url: !!bool hunter2}",
        "store: {url: !!binary hunter2}",
        "store: {url: \"hunter2}",
        "store: {url: 'x' hunter2}",
        "store: &a {url: hunter2, <<: hunter2}",
        "redis: {url: 'hunter2'}",
        "kafka: {sasl_password: [hunter2]}",
        "kafka: {sasl_password: hunter2}",
        "redis: {timeout: 'redis://:hunter2@h'}",
        "kafka: {bootstrap_servers: 'kafka://u:hunter2@k:1'}",
        "coach: {openai_api_key: {hunter2: 1}}",
        "'postgresql://u:hunter2@h/db'",
        "store: 'postgresql://u:hunter2@h/db'",
        "'postgresql://u:hunter2@h/db': 1",
    ] {
        let mut layers = Layers::of(yaml);
        layers.inputs.environment.clear();
        let faults = layers.faults().join("\n");
        assert!(!faults.is_empty() && !faults.contains("hunter2"), "{yaml}: {faults}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_beside_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing.yaml");
    let huge = folder.path().join("huge.yaml");
    std::fs::write(&huge, "#".repeat(2 << 20)).expect("a file");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe]).expect("a file");
    for (path, problem) in [
        (missing.as_path(), "No such file"),
        (folder.path(), "Is a directory"),
        (&huge, "it has more than 1048576 bytes"),
        (&binary, "it is not UTF-8"),
        (Path::new("/dev/zero"), "it has more than 1048576 bytes"),
    ] {
        let mut layers = Layers::of("").with("LOG_LEVEL", "loud");
        layers.inputs.file = Some(path.to_owned());
        let faults = layers.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains(problem), "{faults:?}");
        assert!(faults[0].contains("or name another with --config"), "{faults:?}");
    }
}

#[test]
fn the_variable_names_the_file_and_the_flag_wins() {
    let mut layers = Layers::of("workers: 1");
    let other = layers.file("other.yaml", "workers: 2");
    layers = layers.with("BRIDGE_CONFIG", &other.to_string_lossy());
    assert_eq!(layers.load().settings.workers, 1);
    layers.inputs.file = None;
    assert_eq!(layers.load().settings.workers, 2);
}

#[test]
fn values_that_do_not_fit_together_are_named_with_the_cure() {
    let faults = |yaml: &str| Layers::of(yaml).faults();
    let sasl = "kafka: {security_protocol: sasl_ssl, sasl_mechanism: plain, ca_file: /nowhere, certificate_file: /dev/null}";
    let expected = [
        "bridge.yaml:1: `kafka.sasl_username` is missing, and `kafka.security_protocol` is sasl_ssl, which needs it",
        "bridge.yaml:1: `kafka.sasl_password` is missing, and `kafka.security_protocol` is sasl_ssl, which needs it",
        "bridge.yaml:1: `kafka.certificate_file` and `kafka.key_file` belong together; set both or none",
        "bridge.yaml:1: `kafka.ca_file` names `/nowhere`, which cannot be read: No such file or directory (os error 2)",
    ];
    assert_eq!(faults(sasl), expected);
    for (yaml, part) in [
        ("kafka: {sasl_username: me}", "which does not use it; set sasl_ssl, or take it away"),
        ("kafka: {ca_file: /dev/null}", "which does not use it; set ssl or sasl_ssl"),
        ("kafka: {topics: {alerts: biometric.events}}", "has the same topic twice"),
        ("batch: {bytes_max: 64 KiB}", "the largest message would fit in no batch"),
        ("kafka: {queue_bytes_max: 64 KiB}", "the largest message would fit in no queue"),
        ("store: {retain: 2d}", "nothing would ever be compressed"),
        ("coach: {enabled: true}", "set OPENAI_API_KEY, or leave it false"),
        ("keys: {file: /tmp}", "which cannot be read: it is a folder"),
    ] {
        let faults = faults(yaml);
        assert!(faults.len() == 1 && faults[0].contains(part), "{yaml}: {faults:?}");
    }
    assert!(faults("kafka: {security_protocol: tls, sasl_username: me}").len() == 1);
}

#[test]
fn the_built_in_database_is_for_development_only() {
    let mut layers = Layers::of("");
    layers.inputs.environment.remove(OsStr::new("POSTGRES_URL"));
    let faults = layers.faults();
    assert!(faults.len() == 1 && faults[0].contains("set POSTGRES_URL"), "{faults:?}");
    layers.inputs.development = true;
    assert!(layers.load().settings.development);
}

#[test]
fn plaintext_to_other_machines_is_refused_unless_it_is_listed() {
    let open = [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:29092", "kafka", "set ssl or sasl_ssl"),
        ("REDIS_URL", "redis://redis:6379", "redis", "write rediss://"),
        ("WEBSOCKET_URL", "ws://auren-api:8080/ws", "websocket", "write wss://"),
        ("POSTGRES_URL", "postgres://u@db/b?sslmode=disable", "postgres", "take sslmode=disable"),
    ];
    for (variable, value, channel, cure) in open {
        let layers = Layers::of("").with(variable, value);
        let faults = layers.faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(&format!("{variable}: ")), "{faults:?}");
        assert!(faults[0].contains(cure), "{faults:?}");
        assert!(faults[0].ends_with(&format!("or add {channel} to `security.allow_plaintext`")));
        let allowed = layers.set("security.allow_plaintext", channel);
        let notices = allowed.load().notices;
        assert!(notices[0].text.contains("unencrypted"), "{notices:?}");
        let mut development = Layers::of("").with(variable, value);
        development.inputs.development = true;
        assert!(development.load().notices.iter().any(|told| told.text.contains("unencrypted")));
    }
    for (variable, value) in [
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        ("REDIS_URL", "redis://localhost"),
        ("REDIS_URL", "rediss://redis"),
        ("WEBSOCKET_URL", "wss://auren-api/ws"),
        ("POSTGRES_URL", "postgres://u@db/b"),
        ("POSTGRES_URL", "postgres://u@localhost/b?sslmode=disable"),
    ] {
        assert_eq!(Layers::of("").with(variable, value).faults(), [""; 0], "{value}");
    }
}

#[test]
fn our_own_port_speaks_in_the_clear_only_where_that_is_allowed() {
    let open = || {
        let layers = Layers::of("").with("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", "");
        layers.with("BRIDGE__HTTP__TLS__KEY_FILE", "")
    };
    for bind in ["0.0.0.0:8002", "127.0.0.1:8002"] {
        let faults = open().with("HTTP_BIND", bind).faults();
        assert!(faults.len() == 1 && faults[0].contains("answered unencrypted"), "{faults:?}");
        assert!(faults[0].ends_with("add websocket to `security.allow_plaintext`"), "{faults:?}");
    }
    let notices = open().set("security.allow_plaintext", "websocket").load().notices;
    assert!(notices[0].text.contains("answers unencrypted"), "{notices:?}");
    let mut development = open();
    development.inputs.development = true;
    assert!(!development.load().notices.iter().any(|told| told.text.contains("unencrypted")));
    let half = open().with("BRIDGE__HTTP__TLS__KEY_FILE", "/dev/null").faults();
    assert!(half[0].contains("belong together"), "{half:?}");
}

#[test]
fn tokens_are_for_somebody_and_from_somebody_whose_keys_are_somewhere() {
    let whole = "issuer: https://i/, audience: bridge, jwks_file: /dev/null";
    for (auth, part) in [
        (whole.to_owned(), ""),
        ("tokens_file: /dev/null".to_owned(), ""),
        ("jwks_file: /dev/null, issuer: i".to_owned(), "`auth.audience` is missing"),
        ("jwks_url: 'https://i/k', audience: b".to_owned(), "`auth.issuer` is missing"),
        ("issuer: i, audience: b".to_owned(), "without keys"),
        (format!("{whole}, jwks_url: 'https://i/k'"), "are both set"),
        (format!("{whole}, algorithms: []"), "no token would be accepted"),
        (format!("{whole}, algorithms: [HS256]"), "each element RS256,"),
        (format!("{whole}, algorithms: [none]"), "each element RS256,"),
        (format!("{whole}, refresh_floor: 1h"), "is more than `auth.refresh_every`"),
        ("issuer: i, audience: b, jwks_url: 'http://i/k'".to_owned(), "write https://"),
        ("issuer: i, audience: b, jwks_url: 'http://127.0.0.1/k'".to_owned(), ""),
    ] {
        let faults = Layers::of(&format!("auth: {{{auth}}}")).faults();
        let is_so =
            if part.is_empty() { faults.is_empty() } else { faults.concat().contains(part) };
        assert!(is_so, "{auth}: {faults:?}");
    }
}

#[test]
fn lists_sections_and_words_are_read_from_yaml_too() {
    let yaml = "\
log: {level: off}
workers: 0x10
security: {allow_plaintext: [redis, kafka]}
kafka: {bootstrap_servers: [k1:9092, '[::1]:9092']}
events: {naive_timestamps: {default: Europe/Berlin, oura: UTC}}
policy: {file: /dev/null}
";
    let layers = Layers::of(yaml);
    for (key, value) in [
        ("log.level", "off"),
        ("workers", "16"),
        ("security.allow_plaintext", "[kafka, redis]"),
        ("kafka.bootstrap_servers", "[k1:9092, \"[::1]:9092\"]"),
        ("events.naive_timestamps", "{default: Europe/Berlin, oura: UTC}"),
        ("policy.file", "/dev/null"),
    ] {
        let (shown, source) = layers.shown(key);
        assert_eq!(shown, value);
        assert!(source.starts_with("bridge.yaml:"), "{source}");
    }
}

#[test]
fn hostile_yaml_is_a_fault_and_no_more() {
    let bomb = (0..40).fold("a0: &a0 x\n".to_owned(), |bomb, n| {
        format!("{bomb}a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1)
    });
    for yaml in ["[".repeat(500_000), "{a: ".repeat(200_000), bomb, "--- 1\n--- 2\n".to_owned()] {
        assert_eq!(Layers::of(&yaml).faults().len(), 1);
    }
}

#[test]
fn text_from_outside_is_escaped_in_faults() {
    let layers = Layers::of("").with("HTTP_BIND", "a\nb\u{1b}[31m");
    assert!(layers.faults()[0].contains("is `a\\nb\\u{1b}[31m`;"), "{:?}", layers.faults());
}
