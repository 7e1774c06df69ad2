//! The integration tests: the program and its files as a user meets them, in one binary.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on has failed, also in a helper"
)]

mod chaos;
mod command_line;
mod commands;
mod configuration;
mod deployment;
mod documents;
mod golden;
mod house;
mod keys;
mod quoting;
mod replay;
mod servers;
mod servers_work;
mod service;
mod store;
mod support;
mod vault;
