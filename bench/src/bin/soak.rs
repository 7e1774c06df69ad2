//! The soak: half an hour of steady load on real servers, at the end of which memory and open files must not
//! have moved. It fails when they have, when events wait, are lost or doubled, or when an alarm was raised.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::durable::{Soak, run_soak, setting};
use clap::Parser;

/// Half an hour of steady load on real servers; fails when memory or open files of the service move.
#[derive(Parser)]
struct Arguments {
    /// Length of the load; its last two thirds are judged.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Events a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Users, each in turn.
    #[arg(long, default_value_t = 20_000)]
    users: u64,
    /// How long topics and store keep events, in seconds; at least a minute.
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(60..))]
    keep: u64,
    /// Halt PostgreSQL for so many seconds in the middle, and judge that instead.
    #[arg(long, value_name = "SECONDS")]
    stall: Option<u64>,
    /// End when the run has more on the disk.
    #[arg(long, default_value_t = 12)]
    disk_gibibytes: u64,
    /// The service's program; by default the one beside this.
    #[arg(long)]
    service: Option<PathBuf>,
    /// A setting for the service, by its variable.
    #[arg(long = "set", value_name = "VARIABLE=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Where the samples go.
    #[arg(long, default_value = "target/soak/samples.csv")]
    csv: PathBuf,
    /// Where they are drawn.
    #[arg(long, default_value = "target/soak/soak.svg")]
    plot: PathBuf,
}

fn main() -> ExitCode {
    match soak(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error nobody can be told.
            writeln!(std::io::stderr(), "soak: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: Arguments) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("biometric-bridge");
    run_soak(&Soak {
        minutes: arguments.minutes,
        rate: arguments.rate,
        users: arguments.users,
        keep: arguments.keep,
        stall: arguments.stall,
        disk_bytes_max: arguments.disk_gibibytes << 30,
        service: arguments.service.unwrap_or(beside),
        settings: arguments.settings,
        csv: arguments.csv,
        plot: arguments.plot,
    })
}
