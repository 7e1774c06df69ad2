//! How to reach the brokers, and the limits that every client must agree on.

use std::time::Duration;

use rdkafka::ClientConfig;

/// The brokers and how to speak with them; made once from the configuration.
#[derive(Clone)]
pub struct Connection {
    /// `bootstrap.servers`.
    pub bootstrap_servers: String,
    /// Further properties of librdkafka: protocol, certificates, credentials.
    pub security: Vec<(&'static str, String)>,
    /// What all clients share.
    pub limits: Limits,
}

/// How long a request may be without an answer, beyond what the broker was asked to wait.
const SILENCE: Duration = Duration::from_secs(10);

/// Sizes and times that clients share.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest value that `biometric.events` holds, bytes (`events.max_bytes`).
    pub event_bytes_max: usize,
    /// How long a broker may wait for more before it answers a fetch.
    pub fetch_wait: Duration,
    /// Bytes that wait in a lane's client, at most.
    pub queue_bytes_max: usize,
    /// How long a group member may be silent.
    pub session_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: 1 << 20,
            fetch_wait: Duration::from_millis(100),
            queue_bytes_max: 16 << 20,
            session_timeout: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The largest message of the topics that the bridge writes: room for an event with all its
    /// headers and what is added to them.
    pub fn message_bytes_max(&self) -> usize {
        (4 << 20).max(self.event_bytes_max + (64 << 10))
    }
}

impl Connection {
    /// A client's configuration to begin with.
    pub(super) fn client(&self, name: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", format!("biometric-bridge.{name}"))
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.keepalive.enable", "true")
            // A broker whose packets vanish is taken for gone after this; a fetch may wait, too.
            .set("socket.timeout.ms", (SILENCE + self.limits.fetch_wait).as_millis().to_string())
            // Small requests must not wait for the acknowledgement of the one before.
            .set("socket.nagle.disable", "true")
            .set("receive.message.max.bytes", self.receive_bytes_max().to_string());
        for (key, value) in &self.security {
            config.set(*key, value);
        }
        config
    }

    /// A fetch may hold one message of the largest size and some framing.
    fn receive_bytes_max(&self) -> usize {
        (self.limits.message_bytes_max() * 2 + (1 << 20)).max(100_000_000)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .finish_non_exhaustive()
    }
}
