//! The service's settings: declared once, read from four layers, checked all at once. Reads the files
//! that it is pointed to; never the process's environment, which is handed in as data.
//!
//! Later layers win: the defaults, a YAML file, the environment, and what the command line says.

mod address;
mod attributes;
mod choice;
mod coherence;
mod declaration;
mod fault;
mod layers;
mod node;
mod origins;
mod reference;
mod setting;
mod table;
mod text;

pub use address::SecretUrl;
pub use attributes::Attributes;
pub use choice::{
    BelowStart, Channel, KeyWrapper, LogFormat, Sampler, SaslMechanism, SecurityProtocol,
    SigningAlgorithm,
};
pub use coherence::Notice;
pub use declaration::Key;
pub use fault::{Fault, Faults, Source};
pub use layers::{Inputs, Loaded};
pub use origins::Origins;
pub use reference::reference;
pub use setting::{ByteSize, Ratio};
pub use table::{
    AuditSettings, Auth, Batch, Checkpoint, Coach, Events, Http, HttpTls, KEYS, Kafka, KafkaTopics,
    Keys, KeysVault, LogSettings, PolicySettings, Push, Quarantine, Redis, Security, Settings,
    Shutdown, Store, TracesSettings, Users,
};
pub use text::{BootstrapServers, LogFilter};
