//! The command line: commands, their help, and how they end.

mod alerts;
mod asking;
mod audit;
mod completions;
mod config;
mod demo;
mod dlq;
mod doctor;
mod erase;
mod explain;
mod export;
mod failure;
mod gaps;
mod healthcheck;
mod input;
mod keys;
mod migrate;
mod policy;
mod quarantine;
mod replay;
mod run;
mod send;
mod servers;
mod state;
mod tail;
mod tokens;
mod topics;
mod user;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Turns wearable events into explained, reproducible changes of a person's NEUROS mode.
#[derive(Parser)]
#[command(
    name = "biometric-bridge",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 success, 1 not healthy, 64 wrong usage, 65 malformed input, 66 no such input, \
                  69 a server is away, 70 only a new process gets over it, \
                  71 no randomness, 73 cannot create the output, 74 input or output failed, \
                  78 invalid policy or settings."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Demo(demo::Arguments),
    Migrate(migrate::Arguments),
    Topics(topics::Arguments),
    Dlq(dlq::Arguments),
    Quarantine(quarantine::Arguments),
    Alerts(alerts::Arguments),
    Gaps(gaps::Arguments),
    State(state::Arguments),
    Explain(explain::Arguments),
    Tail(tail::Arguments),
    Export(export::Arguments),
    Erase(erase::Arguments),
    Replay(replay::Arguments),
    Send(send::Arguments),
    Doctor(doctor::Arguments),
    Healthcheck(healthcheck::Arguments),
    Policy(policy::Arguments),
    Keys(keys::Arguments),
    Audit(audit::Arguments),
    Tokens(tokens::Arguments),
    User(user::Arguments),
    Config(config::Arguments),
    Completions(completions::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let ended = match Cli::try_parse() {
        Ok(cli) => cli.command.run(),
        Err(error) => return usage(&error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough: nothing went wrong.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            complain(&failure);
            failure.exit_code()
        }
    }
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Run(arguments) => run::run(&arguments),
            Self::Demo(arguments) => demo::run(&arguments),
            Self::Migrate(arguments) => migrate::run(&arguments),
            Self::Topics(arguments) => topics::run(&arguments),
            Self::Dlq(arguments) => dlq::run(&arguments),
            Self::Quarantine(arguments) => quarantine::run(&arguments),
            Self::Alerts(arguments) => alerts::run(&arguments),
            Self::Gaps(arguments) => gaps::run(&arguments),
            Self::State(arguments) => state::run(&arguments),
            Self::Explain(arguments) => explain::run(&arguments),
            Self::Tail(arguments) => tail::run(&arguments),
            Self::Export(arguments) => export::run(&arguments),
            Self::Erase(arguments) => erase::run(&arguments),
            Self::Replay(arguments) => replay::run(arguments),
            Self::Send(arguments) => send::run(&arguments),
            Self::Doctor(arguments) => doctor::run(&arguments),
            Self::Healthcheck(arguments) => healthcheck::run(&arguments),
            Self::Policy(arguments) => policy::run(arguments),
            Self::Keys(arguments) => keys::run(arguments),
            Self::Audit(arguments) => audit::run(&arguments),
            Self::Tokens(arguments) => tokens::run(&arguments),
            Self::User(arguments) => user::run(&arguments),
            Self::Config(arguments) => config::run(&arguments),
            Self::Completions(arguments) => completions::run(&arguments),
        }
    }
}

/// Prints help, version or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    // With a closed terminal there is nobody left to tell.
    drop(error.print());
    if error.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS }
}

/// Says on stderr what went wrong.
fn complain(what: &dyn std::fmt::Display) {
    // With a closed terminal there is nobody left to tell.
    drop(writeln!(io::stderr(), "biometric-bridge: {what}"));
}
