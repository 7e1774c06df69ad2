//! The benchmark of the whole service: real servers, the real service as a child process, no stand-ins. It
//! gives what it finds and fails for nothing that is only slow.

mod clock;
mod copy;
mod database;
mod drain;
mod engine;
mod inside;
mod instances;
mod kafka;
mod killed;
mod latency;
mod load;
mod looks;
mod million;
mod postgres;
mod process;
mod profile;
mod report;
mod service;
mod setup;
mod soak;
mod sockets;
mod states;
mod warm_up;
mod without;

use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;

use crate::table::Table;

pub use inside::{Task, run as run_inside};
pub use soak::{Soak, run as run_soak};
pub use sockets::{Broadcast, run_bare};
pub use states::hold as hold_states;

/// What there is to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Decode and step on one core.
    Engine,
    /// Durable drains beside COPY, CPU, and memory of a user.
    Drains,
    /// Latency at a steady rate.
    Latency,
    /// The lanes without a store, and without sealing.
    Without,
    /// Two instances beside one.
    Instances,
    /// As many users as are to be tried, and their recovery.
    Million,
    /// Sockets: what an idle one takes, and fan-out to a thousand.
    Sockets,
    /// Looks into single users with few events and with very many.
    Looks,
}

/// What is to be measured, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events of each drain.
    pub events: u64,
    /// Few users and many, one drain each.
    pub users: [u64; 2],
    /// The most users, with two events each.
    pub most_users: u64,
    /// Sockets on which nothing is sent; a fifth as many follow everybody.
    pub sockets: usize,
    /// Events of the user who has very many.
    pub looks: u64,
    /// What is measured.
    pub parts: Vec<Part>,
    /// Seconds of each paced run.
    pub paced_seconds: u64,
    /// Events a second of each paced run.
    pub rates: Vec<u64>,
    /// The service's program.
    pub service: PathBuf,
    /// Where a profile of the machine and of PostgreSQL's statements is kept for each drain; none without.
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

/// Measures, and gives the table.
///
/// # Errors
///
/// When something is broken: a server does not start, an event is lost.
pub fn run(options: &Options) -> anyhow::Result<Table> {
    let measures = |part| options.parts.contains(&part);
    let mut table = Table {
        began: Timestamp::from_microsecond(clock::micros())?.to_string(),
        machine: machine()?,
        ..Table::default()
    };
    if measures(Part::Engine) {
        engine::run(&mut table);
    }
    let mut servers = setup::ServerSettings::default();
    if options.profiles.is_some() {
        servers.postgres.push(profile::SETTING.to_owned());
    }
    let setup = setup::Setup::start(&options.service, &servers)?;
    warm_up::run(&setup)?;
    if measures(Part::Drains) || measures(Part::Without) || measures(Part::Million) {
        let [few, many] = options.users;
        let few = drain::run(&setup, options, few, options.events)?.0;
        report::drained(&mut table, &few);
        if measures(Part::Drains) {
            report::copied(&mut table, &few, &copy::run(&setup, &few)?);
            let many = drain::run(&setup, options, many, options.events)?.0;
            report::drained(&mut table, &many);
            report::copied(&mut table, &many, &copy::run(&setup, &many)?);
            let state = states::measure(many.users, many.events)?;
            report::memory(&mut table, &few, &many, state);
            killed::run(&setup, options, &many, &mut table)?;
        }
        if measures(Part::Without) {
            without::run(&setup, &few.place, few.events, &mut table)?;
        }
        if measures(Part::Million) {
            million::run(&setup, options, few.known, &mut table)?;
        }
    }
    if measures(Part::Instances) {
        instances::run(&setup, options, &mut table)?;
    }
    if measures(Part::Latency) {
        latency::run(&setup, options, &mut table)?;
    }
    if measures(Part::Sockets) {
        sockets::run(&setup, options, &mut table)?;
    }
    if measures(Part::Looks) {
        looks::run(&setup, options, &mut table)?;
    }
    Ok(table)
}

/// Processor, cores and memory.
fn machine() -> anyhow::Result<String> {
    let read = |file: &str, name: &str| -> anyhow::Result<String> {
        let text = std::fs::read_to_string(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line
            .and_then(|line| line.split_once(':'))
            .map_or("?", |(_, value)| value.trim())
            .to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let (processor, memory) =
        (read("/proc/cpuinfo", "model name")?, read("/proc/meminfo", "MemTotal")?);
    Ok(format!("{cores} x {processor}, {memory}"))
}

/// The median.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(last / 2), at(last.div_ceil(2)))
}
