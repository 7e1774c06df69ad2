//! One event's way from the log to a committed decision: the lanes, their actors and the ports through
//! which they meet the outside. Nothing here knows Kafka, SQL, ciphers or HTTP.
//!
//! [`own`] holds a lane. A batch goes one way: ingest, router, users, alert, audit, persist, push.

mod alert;
mod audit;
mod batch;
pub mod cache;
pub mod capacity;
pub mod chain;
pub mod clock;
pub mod command;
pub mod compare;
pub mod dead_letter;
mod decide;
pub mod defect;
pub mod erase;
pub mod expansion;
mod filling;
mod gather;
pub mod hash_chain;
mod heed;
pub mod home;
pub mod incoming;
mod ingest;
pub mod inquiry;
pub mod intake;
pub mod lane;
mod live;
pub mod log;
pub mod message;
pub mod notice;
mod obey;
pub mod observe;
mod owner;
mod persist;
pub mod person;
pub mod phi;
pub mod places;
mod poll;
pub mod ports;
mod push;
mod relay;
mod residents;
pub mod restore;
mod restoring;
mod router;
pub mod rows;
mod running;
mod scrub;
pub mod seal;
pub mod store;
mod suspects;
pub mod taken;
pub mod trace;
mod turns;
pub mod user;

pub use owner::own;
