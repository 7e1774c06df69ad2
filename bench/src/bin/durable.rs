//! Measures the whole service with real servers: durable events a second, latency, CPU and memory.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::durable::{Options, hold_states, run, setting};
use clap::Parser;

/// Measures the whole service with real servers, and prints one table.
#[derive(Parser)]
struct Arguments {
    /// A minute instead of several; figures to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Events of each drain.
    #[arg(long, default_value_t = 600_000)]
    events: u64,
    /// Users of each drain.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    users: Vec<u64>,
    /// Events a second of each paced run; an empty list leaves them out.
    #[arg(long, value_delimiter = ',', default_value = "1000,5000", num_args = 0..)]
    rates: Vec<u64>,
    /// Seconds of each paced run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The service's program; by default the one beside this.
    #[arg(long)]
    service: Option<PathBuf>,
    /// Keep a profile of the service for each drain in this folder; needs perf.
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
    /// A setting for the service, by its variable.
    #[arg(long = "set", value_name = "VARIABLE=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Only hold states, and say what they take.
    #[arg(long, hide = true, num_args = 2, value_names = ["USERS", "EVENTS"])]
    states: Option<Vec<u64>>,
}

fn main() -> ExitCode {
    match measure(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error nobody can be told.
            writeln!(std::io::stderr(), "durable: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: Arguments) -> anyhow::Result<()> {
    if let Some([users, events]) = arguments.states.as_deref() {
        return hold_states(*users, *events);
    }
    let beside = std::env::current_exe()?.with_file_name("biometric-bridge");
    let mut options = Options {
        events: arguments.events,
        users: arguments.users,
        paced_seconds: arguments.seconds,
        rates: arguments.rates,
        service: arguments.service.unwrap_or(beside),
        profiles: arguments.profiles,
        settings: arguments.settings,
    };
    if arguments.quick {
        options.events = options.events.min(100_000);
        options.users = options.users.iter().map(|users| users.div_ceil(10)).collect();
        options.paced_seconds = options.paced_seconds.min(5);
    }
    run(&options)
}
