//! The Biometric Bridge: from wearable events to explained, reproducible mode changes.
//!
//! The decisions are made in the crate `neuros`; this crate joins it to the outside.

pub mod app;
pub mod audit;
pub mod cache;
pub mod cli;
mod coach;
pub mod demo;
pub mod export;
mod hints;
pub mod http;
mod inquiry;
pub mod kafka;
pub mod lanes;
pub mod letters;
pub mod push;
pub mod replay;
pub mod retention;
mod retrace;
pub mod seal;
pub mod settings;
pub mod signature;
pub mod store;
pub mod telemetry;
pub mod vault;
pub mod watch;
mod why;
