//! Kafka behind the lanes' ports: reading lanes, group membership, forwarding and publishing. No decision
//! is made here and no offset is kept here: positions come from the store.

mod attended;
mod connection;
mod context;
mod group;
mod health;
mod inquiry;
mod log;
mod producer;
mod sender;
pub mod topics;
mod whole;

pub use connection::{Connection, Limits};
pub use group::{Group, Lost, Member, Membership, Positioned};
pub use health::{Health, Lags};
pub use inquiry::{Cluster, Inquiry, Looked};
pub use log::KafkaLog;
pub use producer::{KafkaForwarder, KafkaPublisher};
pub use sender::{Event, Sender, Sent};
pub use topics::TopicNames;
pub use whole::read_whole;
