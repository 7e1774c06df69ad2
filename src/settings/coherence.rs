//! Values that are each allowed and together make no sense or no protection, and what an operator should
//! be told at start.

mod coach;
mod traces;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::choice::{Channel, KeyWrapper};
use super::table::{BUILT_IN_STORE, Settings};

/// Something to say loudly when the service starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The key that it is about.
    pub key: &'static str,
    /// What to know.
    pub text: String,
}

/// Values that cannot stay together: the keys, the first of which is named, and what is wrong.
pub(super) struct Contradiction {
    pub(super) keys: &'static [&'static str],
    pub(super) problem: String,
}

/// Parameters of a PostgreSQL URL; of others the driver would log the value.
const POSTGRES_PARAMETERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Collects what is wrong.
#[derive(Default)]
struct Found(Vec<Contradiction>);

impl Found {
    /// Notes `problem` when something does not hold.
    fn must(&mut self, holds: bool, keys: &'static [&'static str], problem: impl Into<String>) {
        if !holds {
            self.0.push(Contradiction { keys, problem: problem.into() });
        }
    }
}

/// Everything that does not fit together.
pub(super) fn contradictions(settings: &Settings) -> Vec<Contradiction> {
    let mut found = Found::default();
    store(settings, &mut found);
    kafka(settings, &mut found);
    sizes(settings, &mut found);
    files(settings, &mut found);
    plaintext(settings, &mut found);
    listener(settings, &mut found);
    auth(settings, &mut found);
    vault(settings, &mut found);
    push(settings, &mut found);
    traces::contradictions(settings, &mut found);
    coach::contradictions(settings, &mut found);
    found.0
}

fn store(settings: &Settings, found: &mut Found) {
    let store = &settings.store;
    found.must(
        settings.development || store.url.expose() != BUILT_IN_STORE,
        &["store.url"],
        "is the built-in database, which is for development only; set POSTGRES_URL, or start with \
         --development",
    );
    if store.url.scheme() != "sqlite" {
        let strange = store.url.strange_parameters(&POSTGRES_PARAMETERS);
        found.must(
            strange.is_empty(),
            &["store.url"],
            "has a parameter that the database's driver does not know; look behind the `?`",
        );
    }
    if let Some(url) = settings.keys.url.as_ref().filter(|url| url.scheme() != "sqlite") {
        let strange = url.strange_parameters(&POSTGRES_PARAMETERS);
        found.must(
            strange.is_empty(),
            &["keys.url"],
            "has a parameter that the database's driver does not know; look behind the `?`",
        );
    }
    found.must(
        store.retain.is_zero() || store.compress_after < store.retain,
        &["store.compress_after", "store.retain"],
        "is not below `store.retain`: nothing would ever be compressed; lower it, or set 0s for \
         never",
    );
}

fn kafka(settings: &Settings, found: &mut Found) {
    const PROTOCOL: &str = "kafka.security_protocol";
    let kafka = &settings.kafka;
    let protocol = kafka.security_protocol;
    let sasl: [(bool, &'static [&'static str]); 3] = [
        (kafka.sasl_mechanism.is_some(), &["kafka.sasl_mechanism", PROTOCOL]),
        (kafka.sasl_username.is_some(), &["kafka.sasl_username", PROTOCOL]),
        (kafka.sasl_password.is_some(), &["kafka.sasl_password", PROTOCOL]),
    ];
    for (is_set, keys) in sasl {
        let problem = match is_set {
            true => format!(
                "is set, and `{PROTOCOL}` is {protocol}, which does not use it; set sasl_ssl, or \
                 take it away"
            ),
            false => format!("is missing, and `{PROTOCOL}` is {protocol}, which needs it"),
        };
        found.must(is_set == protocol.is_authenticated(), keys, problem);
    }
    let tls: [(bool, &'static [&'static str]); 3] = [
        (kafka.ca_file.is_some(), &["kafka.ca_file", PROTOCOL]),
        (kafka.certificate_file.is_some(), &["kafka.certificate_file", PROTOCOL]),
        (kafka.key_file.is_some(), &["kafka.key_file", PROTOCOL]),
    ];
    for (is_set, keys) in tls {
        let problem = format!(
            "is set, and `{PROTOCOL}` is {protocol}, which does not use it; set ssl or sasl_ssl, \
             or take it away"
        );
        found.must(!is_set || protocol.is_encrypted(), keys, problem);
    }
    found.must(
        kafka.certificate_file.is_some() == kafka.key_file.is_some(),
        &["kafka.certificate_file", "kafka.key_file"],
        "and `kafka.key_file` belong together; set both or none",
    );
    let topics = &kafka.topics;
    let all = [
        &topics.events,
        &topics.by_user,
        &topics.dead_letters,
        &topics.alerts,
        &topics.transitions,
        &topics.audit,
    ];
    found.must(
        all.iter().collect::<BTreeSet<_>>().len() == all.len(),
        &["kafka.topics"],
        "has the same topic twice; each needs its own",
    );
}

fn sizes(settings: &Settings, found: &mut Found) {
    let max = settings.events.max_bytes;
    found.must(
        max <= settings.batch.bytes_max,
        &["events.max_bytes", "batch.bytes_max"],
        "is more than `batch.bytes_max`: the largest message would fit in no batch",
    );
    found.must(
        max <= settings.kafka.queue_bytes_max,
        &["events.max_bytes", "kafka.queue_bytes_max"],
        "is more than `kafka.queue_bytes_max`: the largest message would fit in no queue",
    );
    found.must(
        settings.kafka.fetch_wait + Duration::from_secs(1) < settings.kafka.session_timeout,
        &["kafka.fetch_wait", "kafka.session_timeout"],
        "is not well below `kafka.session_timeout`: a quiet lane would look like a dead one",
    );
}

fn files(settings: &Settings, found: &mut Found) {
    let (kafka, tls, auth) = (&settings.kafka, &settings.http.tls, &settings.auth);
    // Not those of Vault's token and the peer's: an agent may only be about to write them.
    let files: [(&Option<PathBuf>, &'static [&'static str]); 13] = [
        (&kafka.ca_file, &["kafka.ca_file"]),
        (&kafka.certificate_file, &["kafka.certificate_file"]),
        (&kafka.key_file, &["kafka.key_file"]),
        (&settings.keys.file, &["keys.file"]),
        (&settings.keys.vault.ca_file, &["keys.vault.ca_file"]),
        (&settings.policy.file, &["policy.file"]),
        (&settings.audit.signing_key_file, &["audit.signing_key_file"]),
        (&tls.certificate_file, &["http.tls.certificate_file"]),
        (&tls.key_file, &["http.tls.key_file"]),
        (&auth.jwks_file, &["auth.jwks_file"]),
        (&auth.tokens_file, &["auth.tokens_file"]),
        (&settings.push.ca_file, &["push.ca_file"]),
        (&settings.traces.ca_file, &["traces.ca_file"]),
    ];
    for (path, keys) in files {
        let Some(path) = path else { continue };
        let is_folder = || File::open(path).map(|_| path.is_dir());
        let problem = match is_folder() {
            Ok(false) => continue,
            Ok(true) => "it is a folder".to_owned(),
            Err(error) => error.to_string(),
        };
        let name = super::node::quoted(&path.to_string_lossy());
        found.must(false, keys, format!("names {name}, which cannot be read: {problem}"));
    }
}

/// The connections to other machines that anybody between can read, and how each would be cured.
fn open_channels(settings: &Settings) -> Vec<(Channel, &'static [&'static str], &'static str)> {
    let kafka = &settings.kafka;
    let leaves =
        |url: &super::SecretUrl, scheme: &str| url.scheme() == scheme && !url.is_loopback();
    let is_open_postgres = |url: &super::SecretUrl| {
        url.says(&["sslmode", "ssl-mode"], "disable") && !url.is_loopback()
    };
    let candidates: [(bool, Channel, &'static [&'static str], &'static str); 6] = [
        coach::open_channel(settings),
        (
            !kafka.security_protocol.is_encrypted() && !kafka.bootstrap_servers.are_loopback(),
            Channel::Kafka,
            &["kafka.security_protocol", "kafka.bootstrap_servers", "security.allow_plaintext"],
            "set ssl or sasl_ssl",
        ),
        (
            settings.redis.url.as_ref().is_some_and(|url| leaves(url, "redis")),
            Channel::Redis,
            &["redis.url", "security.allow_plaintext"],
            "write rediss://",
        ),
        (
            settings.push.websocket_url.as_ref().is_some_and(|url| leaves(url, "ws")),
            Channel::Websocket,
            &["push.websocket_url", "security.allow_plaintext"],
            "write wss://",
        ),
        (
            is_open_postgres(&settings.store.url),
            Channel::Postgres,
            &["store.url", "security.allow_plaintext"],
            "take sslmode=disable away",
        ),
        (
            settings.keys.url.as_ref().is_some_and(is_open_postgres),
            Channel::Postgres,
            &["keys.url", "security.allow_plaintext"],
            "take sslmode=disable away",
        ),
    ];
    let open = candidates.into_iter().filter(|(is_open, ..)| *is_open);
    open.map(|(_, channel, keys, cure)| (channel, keys, cure)).collect()
}

fn plaintext(settings: &Settings, found: &mut Found) {
    for (channel, keys, cure) in open_channels(settings) {
        let is_allowed =
            settings.development || settings.security.allow_plaintext.contains(&channel);
        let problem = format!(
            "would send health data to another machine unencrypted; {cure}, or add {channel} to \
             `security.allow_plaintext`"
        );
        found.must(is_allowed, keys, problem);
    }
}

/// Whether our own port speaks in the clear.
fn is_open(settings: &Settings) -> bool {
    settings.http.tls.certificate_file.is_none()
}

fn listener(settings: &Settings, found: &mut Found) {
    let tls = &settings.http.tls;
    found.must(
        tls.certificate_file.is_some() == tls.key_file.is_some(),
        &["http.tls.certificate_file", "http.tls.key_file"],
        "and `http.tls.key_file` belong together; set both or none",
    );
    let http = &settings.http;
    found.must(
        http.socket_silence_max >= http.socket_ping_every * 2,
        &["http.socket_silence_max", "http.socket_ping_every"],
        "is less than twice `http.socket_ping_every`: clients that are there would be closed before they can \
         say so",
    );
    let is_allowed =
        settings.development || settings.security.allow_plaintext.contains(&Channel::Websocket);
    found.must(
        is_allowed || !is_open(settings),
        &["http.tls.certificate_file", "security.allow_plaintext"],
        "is missing, and whoever asks us would be answered unencrypted; set it and \
         `http.tls.key_file`, or add websocket to `security.allow_plaintext`",
    );
}

fn auth(settings: &Settings, found: &mut Found) {
    let auth = &settings.auth;
    found.must(
        auth.jwks_url.is_none() || auth.jwks_file.is_none(),
        &["auth.jwks_url", "auth.jwks_file"],
        "and `auth.jwks_file` are both set; the keys are in one place",
    );
    let has_keys = auth.jwks_url.is_some() || auth.jwks_file.is_some();
    let named: [(bool, &'static [&'static str]); 2] = [
        (auth.issuer.is_some(), &["auth.issuer", "auth.jwks_url", "auth.jwks_file"]),
        (auth.audience.is_some(), &["auth.audience", "auth.jwks_url", "auth.jwks_file"]),
    ];
    for (is_set, keys) in named {
        let problem = match is_set {
            true => "is set without keys; set `auth.jwks_url` or `auth.jwks_file` too",
            false => "is missing: a token for somebody else would be as good as one for us",
        };
        found.must(is_set == has_keys, keys, problem);
    }
    found.must(
        !auth.algorithms.is_empty(),
        &["auth.algorithms"],
        "is empty: no token would be accepted; name those that the issuer signs with",
    );
    found.must(
        auth.refresh_floor <= auth.refresh_every,
        &["auth.refresh_floor", "auth.refresh_every"],
        "is more than `auth.refresh_every`; lower it",
    );
    let is_clear = |url: &super::SecretUrl| url.scheme() == "http" && !url.is_loopback();
    found.must(
        settings.development || !auth.jwks_url.as_ref().is_some_and(is_clear),
        &["auth.jwks_url"],
        "is not encrypted: whoever sits between could issue tokens; write https://",
    );
}

fn vault(settings: &Settings, found: &mut Found) {
    let (keys, vault) = (&settings.keys, &settings.keys.vault);
    found.must(
        keys.wrapper == KeyWrapper::File || vault.url.is_some(),
        &["keys.wrapper", "keys.vault.url"],
        "is vault, and nothing says where it is; set `keys.vault.url`",
    );
    found.must(
        vault.url.is_some() == vault.token_file.is_some(),
        &["keys.vault.token_file", "keys.vault.url"],
        "and `keys.vault.url` belong together; set both or none",
    );
    let Some(url) = &vault.url else { return };
    found.must(
        url.strange_parameters(&[]).is_empty(),
        &["keys.vault.url"],
        "has parameters; wanted is where Vault is, such as https://vault.example:8200",
    );
    found.must(
        settings.development || url.scheme() == "https" || url.is_loopback(),
        &["keys.vault.url"],
        "is not encrypted: data keys would cross the network in the clear; write https://",
    );
}

fn push(settings: &Settings, found: &mut Found) {
    found.must(
        settings.push.websocket_url.as_ref().is_none_or(|url| !url.has_credentials()),
        &["push.websocket_url"],
        "names a user or has a password, which would be told nobody; set `push.token_file`",
    );
}

/// What an operator should be told, loudly, at each start.
pub(super) fn notices(settings: &Settings) -> Vec<Notice> {
    let mut notices = Vec::new();
    if settings.development {
        let text = "development: what protects health data may be left out".to_owned();
        notices.push(Notice { key: "development", text });
    }
    for (channel, keys, cure) in open_channels(settings) {
        let text = format!(
            "health data goes over the network unencrypted ({channel}): whoever listens there \
             reads it; {cure}"
        );
        notices.push(Notice { key: keys.first().copied().unwrap_or_default(), text });
    }
    if is_open(settings) && !settings.development {
        let text = "our own port answers unencrypted (websocket): whoever listens there reads health \
                    data; set `http.tls.certificate_file` and `http.tls.key_file`";
        notices.push(Notice { key: "http.tls.certificate_file", text: text.to_owned() });
    }
    notices.extend(coach::notice(settings));
    if settings.audit.signing_key_file.is_none() && !settings.development {
        let text = "not set: no checkpoint of the log of accesses is signed, and whoever can write to the \
                    database can cut the log's end off unseen; `biometric-bridge audit init` makes a key"
            .to_owned();
        notices.push(Notice { key: "audit.signing_key_file", text });
    }
    notices
}
