//! `completions`: what a shell needs to complete our commands.

use std::io::{self, Write as _};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::failure::Failure;

/// Prints completions for a shell.
#[derive(Args)]
#[command(after_help = "Example:\n  biometric-bridge completions bash > \
                        /etc/bash_completion.d/biometric-bridge")]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "biometric-bridge", &mut script);
    io::stdout().write_all(&script)?;
    Ok(())
}
