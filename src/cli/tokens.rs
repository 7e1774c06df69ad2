//! `tokens`: tokens of our own, for operators of small installations. A token is printed once, where it is
//! made, and kept nowhere.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};

use super::failure::Failure;
use crate::http::{NewToken, NoToken};

/// Makes tokens by which operators may ask for health data, where nobody issues signed ones.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a token, and shows it with its line for the file that `auth.tokens_file` names.
    ///
    /// The file knows the token by its digest alone: whoever reads it cannot ask. A line that is taken
    /// away takes its token with it within seconds, without a restart.
    #[command(after_help = "Examples:
  biometric-bridge tokens new night-shift operator
  biometric-bridge tokens new dr-silva care:u1 care:u2")]
    New {
        /// Whose it is, for the log of accesses.
        name: String,
        /// What it is good for: `operator` (everybody's data), `care:USER` (one user's) or `auditor`
        /// (nobody's).
        #[arg(required = true, value_name = "SCOPE")]
        scopes: Vec<String>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Command::New { name, scopes } = &arguments.command;
    let made = NewToken::new(name, scopes).map_err(|error| match error {
        NoToken::Wrong(problem) => Failure::Usage(problem),
        NoToken::NoRandomness(error) => error.into(),
    })?;
    let mut output = io::stdout().lock();
    write!(
        output,
        "The token, which is shown this once:\n  {}\n\
         Its line for the file that `auth.tokens_file` names:\n  {}\n",
        *made.token, made.line
    )?;
    Ok(output.flush()?)
}
