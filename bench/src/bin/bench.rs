//! Measures the whole service with real servers: durable events a second, latency, CPU, memory, recovery.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::durable::{
    Broadcast, Options, Part, Task, hold_states, run, run_bare, run_inside, setting,
};
use bench::table::{Table, changes};
use clap::{Args, Parser, Subcommand, ValueEnum as _};

/// The service's: what runs inside this process has it there too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures the whole service with real servers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, prints one table and keeps it as JSON.
    Run(Run),
    /// Shows what changed between two such files.
    Compare {
        /// The table of the earlier run.
        before: PathBuf,
        /// The table of the later run.
        after: PathBuf,
    },
    /// Only holds states, and says what they take.
    #[command(hide = true)]
    States { users: u64, events: u64 },
    /// Runs parts of the service inside this process.
    #[command(hide = true)]
    Inside(Task),
    /// Only sends texts to sockets.
    #[command(hide = true)]
    Broadcast(Broadcast),
}

#[derive(Args)]
struct Run {
    /// A minute or two instead of ten; figures to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::value_variants().to_vec())]
    parts: Vec<Part>,
    /// Events of each drain.
    #[arg(long, default_value_t = 3_000_000)]
    events: u64,
    /// Few users.
    #[arg(long, default_value_t = 10_000)]
    few: u64,
    /// Many users.
    #[arg(long, default_value_t = 100_000)]
    many: u64,
    /// Most users.
    #[arg(long, default_value_t = 1_000_000)]
    most: u64,
    /// Sockets on which nothing is sent; a fifth as many follow everybody.
    #[arg(long, default_value_t = 5_000)]
    sockets: usize,
    /// Events of the user who has very many.
    #[arg(long, default_value_t = 1_000_000)]
    looks: u64,
    /// Events a second of each paced run.
    #[arg(long, value_delimiter = ',', default_value = "1000,2000,5000")]
    rates: Vec<u64>,
    /// Seconds of each paced run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The service's program; by default the one beside this.
    #[arg(long)]
    service: Option<PathBuf>,
    /// Keep a profile of the machine and of PostgreSQL's statements for each drain in this folder; needs perf.
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
    /// A setting for the service, by its variable.
    #[arg(long = "set", value_name = "VARIABLE=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Where the table is kept.
    #[arg(long, default_value = "target/bench/table.json")]
    json: PathBuf,
}

fn main() -> ExitCode {
    match obey(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error nobody can be told.
            writeln!(std::io::stderr(), "bench: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(run) => measure(run),
        Command::Compare { before, after } => {
            let text = changes(&Table::read(&before)?, &Table::read(&after)?);
            Ok(std::io::stdout().write_all(text.as_bytes())?)
        }
        Command::States { users, events } => hold_states(users, events),
        Command::Inside(task) => run_inside(&task),
        Command::Broadcast(task) => run_bare(&task),
    }
}

fn measure(asked: Run) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("biometric-bridge");
    let mut options = Options {
        events: asked.events,
        users: [asked.few, asked.many],
        most_users: asked.most,
        sockets: asked.sockets,
        looks: asked.looks,
        parts: asked.parts,
        paced_seconds: asked.seconds,
        rates: asked.rates,
        service: asked.service.unwrap_or(beside),
        profiles: asked.profiles,
        settings: asked.settings,
    };
    if asked.quick {
        options.events = options.events.min(100_000);
        options.users = options.users.map(|users| users.div_ceil(10));
        options.most_users = options.most_users.div_ceil(20);
        options.sockets = options.sockets.div_ceil(10);
        options.looks = options.looks.div_ceil(20);
        options.paced_seconds = options.paced_seconds.min(5);
    }
    let table = run(&options)?;
    table.write(&asked.json)?;
    Ok(std::io::stdout().write_all(table.text().as_bytes())?)
}
