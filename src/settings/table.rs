//! Every setting, declared once: its key, kind, default, bounds, meaning and special variable. From
//! this table text is read, shown and checked, and `config/bridge.yaml` is written.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use neuros::wire::NaiveZones;
use secrecy::SecretString;

use super::address::{Form, SecretUrl};
use super::attributes::Attributes;
use super::choice::{
    BelowStart, Channel, KeyWrapper, LogFormat, Sampler, SaslMechanism, SealAlgorithm,
    SecurityProtocol, SigningAlgorithm,
};
use super::declaration::{Key, key, settings};
use super::origins::Origins;
use super::setting::{ByteSize, Ratio, Setting, between, zero_or_between};
use super::text::{BootstrapServers, INSTANCE, LogFilter, NAME, TOPIC, VAULT_KEY, VAULT_PATH};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const CENTURY: Duration = Duration::from_hours(24 * 36_525);

/// The database that needs no server; for development.
pub(super) const BUILT_IN_STORE: &str = "sqlite:bridge.db?mode=rwc";

settings! {
    /// Threads on which users' events are evaluated; 0 is one for each core.
    workers: usize = 0, 0..=1024;

    => /// Where the truth is kept.
    store: Store {
        /// The database: postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:FILE?mode=rwc.
        /// The built-in one is for development only.
        url: SecretUrl = SecretUrl::database_file(BUILT_IN_STORE), Form {
            schemes: &["postgresql", "postgres", "sqlite"],
            example: "postgresql://user:password@host:5432/database",
        }, "POSTGRES_URL";
        /// Connections that the service holds open, at most.
        connections_max: u32 = 8, 2..=1000;
        /// Age from which on stored events are compressed, where TimescaleDB is present.
        compress_after: Duration = DAY * 7, zero_or_between("never", HOUR, CENTURY);
        /// How long stored events are kept. States that they led to stay, and replay begins there.
        retain: Duration = Duration::ZERO, zero_or_between("ever", MINUTE, CENTURY);
        /// How long messages that every sink has taken are kept.
        keep_outbox: Duration = DAY * 7, between(MINUTE, CENTURY);
    }
    => /// The cache; it may be absent or flushed at any time.
    redis: Redis {
        /// The server: rediss://:PASSWORD@HOST:6379. Without it there is no cache.
        url: Option<SecretUrl> = None, Form {
            schemes: &["redis", "rediss"],
            example: "rediss://:password@host:6379",
        }, "REDIS_URL";
        /// How long a state stays in the cache after its last change.
        expire_after: Duration = DAY * 7, between(MINUTE, CENTURY);
        /// How long an answer is waited for before the cache counts as absent.
        timeout: Duration = MILLISECOND * 500, between(MILLISECOND * 10, MINUTE);
    }
    => /// Where events come from and mode changes go to.
    kafka: Kafka {
        /// Servers by which the cluster is found, separated by commas.
        bootstrap_servers: BootstrapServers = BootstrapServers::one("localhost:9092"), (), "KAFKA_BOOTSTRAP_SERVERS";
        /// The consumer group.
        group_id: String = "neuros-biometric-bridge".to_owned(), NAME;
        /// This instance's own name in the group, for static membership: no other instance has it, and
        /// it is the same after a restart, such as a StatefulSet's pod name. An instance that is back
        /// within kafka.session_timeout finds its lanes as it left them; until then, and for that
        /// long when it does not come back, they wait. Without it others take them over at once.
        group_instance_id: Option<String> = None, INSTANCE;
        /// How connections are secured.
        security_protocol: SecurityProtocol = SecurityProtocol::Plaintext, ();
        /// How we prove who we are, with sasl_plaintext and sasl_ssl.
        sasl_mechanism: Option<SaslMechanism> = None, ();
        /// Our name there.
        sasl_username: Option<String> = None, NAME;
        /// Our password there.
        sasl_password: Option<SecretString> = None, ();
        /// The certificates (PEM) of those who may sign the servers'; without it the system's.
        ca_file: Option<PathBuf> = None, ();
        /// Our certificate (PEM), when the servers ask for one …
        certificate_file: Option<PathBuf> = None, ();
        /// … and its private key (PEM).
        key_file: Option<PathBuf> = None, ();
        /// How long a server may wait for records before it answers that there are none. Kafka
        /// answers at once when one comes; of a server that does not, this is the latency.
        fetch_wait: Duration = MILLISECOND * 100, between(MILLISECOND, SECOND * 10);
        /// Fetched and not yet applied records of a lane, at most.
        queue_bytes_max: ByteSize = ByteSize::mib(16), ByteSize::kib(64)..=ByteSize::mib(1024);
        /// Silence after which the group gives our lanes to others.
        session_timeout: Duration = SECOND * 10, between(SECOND * 6, MINUTE * 30);
        /// What a lane does whose position the log's retention has passed: stop and wait for an
        /// operator, or go on from the earliest record and record the gap.
        below_start: BelowStart = BelowStart::Stop, ();
        =>
        /// The topics.
        topics: KafkaTopics {
            /// Events of wearables, in.
            events: String = "biometric.events".to_owned(), TOPIC;
            /// Events that came in on another partition than their user's; only the bridge writes here.
            by_user: String = "biometric.events.by-user".to_owned(), TOPIC;
            /// Rejected records.
            dead_letters: String = "biometric.events.dlq".to_owned(), TOPIC;
            /// Alerts, out.
            alerts: String = "biometric.alerts".to_owned(), TOPIC;
            /// Mode changes, out.
            transitions: String = "neuros.mode.transitions".to_owned(), TOPIC;
            /// Checkpoints of the log of accesses, out.
            audit: String = "biometric.audit.checkpoints".to_owned(), TOPIC;
        }
    }
    => /// How events are read.
    events: Events {
        /// A larger message is rejected.
        max_bytes: ByteSize = ByteSize::mib(1), ByteSize::kib(1)..=ByteSize::mib(64);
        /// The zones of timestamps without an offset, by source (device type, else CloudEvents
        /// source, else device), and the zone of all others: {default: UTC, oura_ring: Europe/Berlin}.
        naive_timestamps: NaiveZones = NaiveZones::default(), ();
    }
    => /// How much of a lane is written in one transaction.
    batch: Batch {
        /// Records, at most.
        records_max: usize = 16_384, 1..=1_000_000;
        /// Bytes of records, at most.
        bytes_max: ByteSize = ByteSize::mib(8), ByteSize::kib(1)..=ByteSize::mib(1024);
        /// How long a batch that is not full waits for more.
        linger: Duration = Duration::ZERO, between(Duration::ZERO, SECOND * 10);
        /// Batches of a lane on their way to the database, at most.
        in_flight_max: usize = 3, 1..=16;
    }
    => /// How many users are held in memory.
    users: Users {
        /// Users in memory, at most, in this process.
        live_max: usize = 200_000, 100..=100_000_000;
        /// A user without events for so long leaves memory.
        idle_after: Duration = MINUTE * 10, between(SECOND, DAY * 7);
    }
    => /// How often users' states are written; until then they can be rebuilt from their records.
    checkpoint: Checkpoint {
        /// After so many of a user's records …
        every_records: u32 = 64, 1..=10_000;
        /// … or so long after the first of them, whichever comes first.
        every: Duration = SECOND * 5, between(MILLISECOND * 100, HOUR);
        /// So often, over all lanes, one user is compared with what their stored records make of them: in
        /// memory, and in their checkpoint; a difference raises biometric_state_mismatches_total.
        scrub_every: Duration = SECOND * 10, zero_or_between("never", MILLISECOND * 10, DAY);
    }
    => /// When an evaluation fails by a fault of the program.
    quarantine: Quarantine {
        /// More quarantined users of a lane a minute stop the lane instead.
        users_per_minute: u32 = 10, 0..=100_000;
    }
    => /// How the service ends.
    shutdown: Shutdown {
        /// How long what is in flight may take; keep it below the grace period of the platform.
        deadline: Duration = SECOND * 25, between(SECOND, HOUR);
    }
    => /// Health, metrics and the API.
    http: Http {
        /// The address and port to listen on.
        bind: SocketAddr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8002), (), "HTTP_BIND";
        /// Requests a second from one address, at most; as many for its probes, counted apart.
        requests_per_address: u32 = 100, 1..=1_000_000;
        /// Requests a second by whom one token names, at most.
        requests_per_subject: u32 = 50, 1..=1_000_000;
        /// Connections at a time, at most …
        connections_max: usize = 1024, 16..=65_536;
        /// … and those of one address.
        connections_per_address: usize = 256, 1..=65_536;
        /// How long the head of a request may take to come in.
        head_timeout: Duration = SECOND * 5, between(MILLISECOND * 100, MINUTE);
        /// How long a connection is kept on which nothing is asked.
        keep_alive: Duration = SECOND * 30, between(SECOND, HOUR);
        /// Whether operators may look into single users below /debug/users: every number behind each
        /// decision, at any time. Each look is written to phi_access_log.
        debug: bool = false, ();
        /// Origins of web pages that may ask for tickets and open sockets. Whoever is no page sends no origin,
        /// and needs none.
        origins: Origins = Origins::default(), ();
        /// Sockets at a time of whom one token names, at most.
        sockets_per_subject: usize = 16, 1..=65_536;
        /// Users that one socket follows by name, at most.
        socket_users_max: usize = 1_000, 1..=100_000;
        /// What may wait for a client that reads slowly; with more it is closed (4008), and may come again.
        socket_queue_bytes_max: ByteSize = ByteSize::mib(1), ByteSize::kib(16)..=ByteSize::mib(64);
        /// How often a client of a socket is asked whether it is still there …
        socket_ping_every: Duration = SECOND * 20, between(MILLISECOND * 100, HOUR);
        /// … and after how long without a word of it the socket is closed (1008).
        socket_silence_max: Duration = MINUTE, between(MILLISECOND * 300, HOUR * 3);
        =>
        /// TLS 1.3 on that port. Files that change are read again while the service runs.
        tls: HttpTls {
            /// Our certificate (PEM), followed by those between it and an authority that clients trust …
            certificate_file: Option<PathBuf> = None, ();
            /// … and its private key (PEM).
            key_file: Option<PathBuf> = None, ();
        }
    }
    => /// Who may see health data through the API. Without any of it nobody may, outside development.
    auth: Auth {
        /// Who issues the tokens (JWT): their claim `iss`.
        issuer: Option<String> = None, NAME;
        /// For whom they are issued: their claim `aud` names this.
        audience: Option<String> = None, NAME;
        /// Where the issuer's public keys (JWKS) are, …
        jwks_url: Option<SecretUrl> = None, Form {
            schemes: &["https", "http"],
            example: "https://issuer.example/.well-known/jwks.json",
        };
        /// … or a file with them, which is read again when it changes.
        jwks_file: Option<PathBuf> = None, ();
        /// How often the keys are fetched anew, so that withdrawn ones are forgotten …
        refresh_every: Duration = MINUTE * 10, between(SECOND, DAY);
        /// … and the shortest time between two fetches, also when a token names a key that is not known.
        refresh_floor: Duration = SECOND * 30, between(SECOND, HOUR);
        /// How tokens may be signed.
        algorithms: BTreeSet<SigningAlgorithm> = SigningAlgorithm::USUAL.into(), ();
        /// By how much the issuer's clock and ours may differ.
        leeway: Duration = SECOND * 30, between(Duration::ZERO, MINUTE * 5);
        /// The claim that holds scopes: self, care:USER, operator, auditor.
        scope_claim: String = "scope".to_owned(), NAME;
        /// A file of tokens for operators of small installations; `tokens new` makes its lines.
        tokens_file: Option<PathBuf> = None, ();
    }
    => /// What the service says while it runs, on standard error.
    log: LogSettings {
        /// From which level on, perhaps with levels of parts: info,biometric_bridge=debug.
        level: LogFilter = LogFilter::level("info"), (), "LOG_LEVEL";
        /// JSON lines, text for people, or auto: text on a terminal, else JSON.
        format: LogFormat = LogFormat::Auto, ();
    }
    => /// Spans of single records and requests, for an OpenTelemetry collector. They say neither whose a record is nor what
    /// it holds.
    traces: TracesSettings {
        /// Where the collector takes OTLP over HTTP, to which /v1/traces is added. Without it nothing is followed.
        endpoint: Option<SecretUrl> = None, Form {
            schemes: &["http", "https"],
            example: "http://collector:4318",
        }, "OTEL_EXPORTER_OTLP_ENDPOINT";
        /// The file with the authorities (PEM) that its certificate is from; without it those of the system.
        ca_file: Option<PathBuf> = None, (), "OTEL_EXPORTER_OTLP_CERTIFICATE";
        /// Which records and requests are followed. Those that begin with parentbased_ heed what was decided before, by
        /// the producer or client whose `traceparent` came with them.
        sampler: Sampler = Sampler::ParentOrRatio, (), "OTEL_TRACES_SAMPLER";
        /// So large a part, where the sampler draws.
        ratio: Ratio = Ratio(0.01), (), "OTEL_TRACES_SAMPLER_ARG";
        /// What the collector calls the service; without it service.name of the attributes, else biometric-bridge.
        service_name: Option<String> = None, NAME, "OTEL_SERVICE_NAME";
        /// What else describes the service: name=value,name=value.
        resource_attributes: Attributes = Attributes::default(), (), "OTEL_RESOURCE_ATTRIBUTES";
        /// Spans that wait for the collector, at most; those beyond are dropped and counted.
        queue_spans_max: usize = 4_096, 16..=1_000_000;
        /// Spans that are sent at once, at most.
        batch_spans_max: usize = 512, 1..=65_536;
        /// How long a span waits for others.
        every: Duration = SECOND, between(MILLISECOND * 10, MINUTE);
        /// How long the collector may take for an answer.
        timeout: Duration = SECOND * 5, between(MILLISECOND * 100, MINUTE);
    }
    => /// The keys that seal health data.
    keys: Keys {
        /// The file with the key-encryption key.
        file: Option<PathBuf> = None, (), "KEY_FILE";
        /// What wraps data keys from now on: the first key of that file, or HashiCorp Vault. The other, where it is
        /// set, unwraps what it has wrapped; `keys rewrap` moves all to the one that wraps.
        wrapper: KeyWrapper = KeyWrapper::File, ();
        /// What seals from now on; what the other has sealed opens as before, but no release that does not
        /// know the second opens what it has sealed.
        algorithm: SealAlgorithm = SealAlgorithm::Aes256Gcm, ();
        /// The database that keeps the wrapped data keys, when it is another than that of the data:
        /// postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:FILE?mode=rwc. With one, no backup of the data
        /// opens for somebody who was erased; back it up apart.
        url: Option<SecretUrl> = None, Form {
            schemes: &["postgresql", "postgres", "sqlite"],
            example: "postgresql://user:password@host:5432/keys",
        }, "KEYS_URL";
        /// For how many days at most backups of that database are kept: so long somebody could still find the
        /// keys of who was erased. It is said on the receipt of an erasure.
        backup_days: u32 = 7, 0..=7;
        =>
        /// HashiCorp Vault's transit engine, 1.9 or newer: the key-encryption key never leaves it.
        vault: KeysVault {
            /// Where Vault is.
            url: Option<SecretUrl> = None, Form {
                schemes: &["https", "http"],
                example: "https://vault.example:8200",
            };
            /// The path of the engine …
            mount: String = "transit".to_owned(), VAULT_PATH;
            /// … and the name of the key there, of type aes256-gcm96.
            key: String = "biometric-bridge".to_owned(), VAULT_KEY;
            /// The file with our token, such as a Vault Agent keeps renewed; it is read for every question.
            token_file: Option<PathBuf> = None, ();
            /// The certificates (PEM) of those who may sign Vault's; without it the system's.
            ca_file: Option<PathBuf> = None, ();
            /// The namespace, of Vault Enterprise.
            namespace: Option<String> = None, VAULT_PATH;
            /// How long an answer may take, connecting included.
            timeout: Duration = SECOND * 5, between(MILLISECOND * 100, MINUTE);
        }
    }
    => /// The log of accesses: who has seen or changed what.
    audit: AuditSettings {
        /// The private key (Ed25519, PEM) that signs checkpoints of the log, and receipts of erasures; `audit init`
        /// makes one. Without it none are signed, and nobody can tell whether the end of the log was cut off.
        signing_key_file: Option<PathBuf> = None, ();
        /// A file to which checkpoints are appended, beside the topic: on a disk that whoever can write to the
        /// database cannot write to.
        checkpoint_file: Option<PathBuf> = None, ();
        /// So often a checkpoint is signed, and sooner when 1,000 rows have come.
        checkpoint_every: Duration = MINUTE, between(SECOND, HOUR);
    }
    => /// The policy of the NEUROS engine.
    policy: PolicySettings {
        /// Its file. Without one: config/neuros.yaml, else /app/config/neuros.yaml, else the
        /// built-in policy.
        file: Option<PathBuf> = None, ();
    }
    => /// What protects health data on the network.
    security: Security {
        /// Connections to other machines that may be unencrypted outside development: kafka, redis,
        /// websocket, postgres, coach. Whoever can listen to such a network reads health data.
        allow_plaintext: BTreeSet<Channel> = BTreeSet::new(), ();
    }
    => /// Mode changes and alerts for the AUREN API, over a WebSocket that we open. Without its address nothing is pushed.
    push: Push {
        /// Where it is: wss://HOST/ws.
        websocket_url: Option<SecretUrl> = None, Form {
            schemes: &["ws", "wss"],
            example: "wss://auren-api/ws",
        }, "WEBSOCKET_URL";
        /// The file with the token by which it knows us (Authorization: Bearer); it is read for every connection.
        token_file: Option<PathBuf> = None, (), "WEBSOCKET_TOKEN_FILE";
        /// Whether a message is safe only when it was acknowledged by its message_id; else when a ping behind it was
        /// answered. Until it is safe it comes again.
        require_ack: bool = false, ();
        /// The certificates (PEM) of those who may sign its; without it the system's.
        ca_file: Option<PathBuf> = None, ();
        /// How long it may take to let us in, to take a message, and to answer; then the connection is given up.
        timeout: Duration = SECOND * 20, between(MILLISECOND * 100, MINUTE * 10);
    }
    => /// Messages of a coach about mode changes, by a language model at a third party.
    coach: Coach {
        /// Whether what explains a mode change may go there. Each call is written to phi_access_log first.
        enabled: bool = false, ();
        /// The key of the account there; unused unless coach.enabled is true.
        openai_api_key: Option<SecretString> = None, (), "OPENAI_API_KEY";
        /// Where an API like OpenAI's is, up to and with its version; without it OpenAI's own.
        base_url: Option<SecretUrl> = None, Form {
            schemes: &["https", "http"],
            example: "https://llm.example/v1",
        }, "OPENAI_BASE_URL";
        /// The language model there.
        model: String = "gpt-4o-mini".to_owned(), NAME;
        /// How long an answer may take, with a second attempt. Nothing but the message waits for it.
        timeout: Duration = SECOND * 10, between(MILLISECOND * 100, MINUTE);
        /// Calls of this instance at a time, at most.
        calls_at_once: usize = 4, 1..=64;
        /// Calls of all instances within a minute, at most. Beyond this and the next two, and whenever there is no
        /// answer that will do, the message is the sentence of the explanation.
        calls_per_minute: u32 = 30, 0..=100_000;
        /// Calls of all instances within 24 hours, at most.
        calls_per_day: u32 = 1_000, 0..=10_000_000;
        /// Calls about one user within 24 hours, at most.
        calls_per_user_day: u32 = 20, 0..=100_000;
        /// A mode change that is older, by the time of its event, gets the sentence without a call.
        newer_than: Duration = MINUTE * 10, zero_or_between("any age will do", SECOND, CENTURY);
    }
}
