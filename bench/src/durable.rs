//! The durable benchmark: real servers, the real service as a child process, no stand-ins. It prints what it
//! finds and judges nothing: slow is a figure, only broken is an error.

mod clock;
mod copy;
mod database;
mod drain;
mod kafka;
mod latency;
mod load;
mod postgres;
mod process;
mod report;
mod service;
mod setup;
mod soak;
mod states;

use std::path::PathBuf;

pub use soak::{Soak, run as run_soak};
pub use states::hold as hold_states;

/// What is to be measured, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events of each drain.
    pub events: u64,
    /// User counts, one drain each.
    pub users: Vec<u64>,
    /// Seconds of each paced run.
    pub paced_seconds: u64,
    /// Events a second of each paced run.
    pub rates: Vec<u64>,
    /// The service's program.
    pub service: PathBuf,
    /// Where `perf` puts a profile of the service for each drain; none without.
    pub profiles: Option<PathBuf>,
    /// Settings for the service, each `VARIABLE=VALUE`.
    pub settings: Vec<(String, String)>,
}

/// Reads a setting for the service.
///
/// # Errors
///
/// When it is no `VARIABLE=VALUE`.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is no VARIABLE=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Measures everything and prints one table.
///
/// # Errors
///
/// When something is broken: a server does not start, an event is lost.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let setup = setup::Setup::start(&options.service, &setup::ServerSettings::default())?;
    let mut report = report::Report::default();
    for users in &options.users {
        let drained = drain::run(&setup, options, *users)?;
        let copied = copy::run(&setup, &drained)?;
        report.drained(&drained, &copied);
    }
    if let [first, .., last] = report.memories() {
        let (few, many) = (*first, *last);
        report.memory(few, many, states::measure(many.users, many.events)?);
    }
    if !options.rates.is_empty() {
        latency::run(&setup, options, &mut report)?;
    }
    report.print()
}
