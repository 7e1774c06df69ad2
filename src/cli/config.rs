//! `config`: are the settings valid, and what is in force.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::complain;
use super::failure::Failure;
use crate::settings::{Fault, Faults, Inputs, KEYS, Loaded, Source, reference};

/// Values wider than this do not push the sources of all others aside.
const VALUE_WIDTH_MAX: usize = 48;

/// Checks the service's settings and shows what is in force, or prints the defaults.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints every setting in force and where it comes from, or all that is wrong at once.
    ///
    /// Later layers win: the defaults, the settings file, the environment, the flags. Passwords
    /// and keys are masked.
    #[command(after_help = "Examples:
  biometric-bridge config check
  biometric-bridge config check --config my.yaml --set log.level=debug
  POSTGRES_URL_FILE=/run/secrets/postgres biometric-bridge config check

Exit code 78 when a setting is not valid.")]
    Check(Layers),
    /// Prints the complete, commented settings file with all defaults.
    #[command(after_help = "Example:\n  biometric-bridge config defaults > config/bridge.yaml")]
    Defaults,
}

/// The flags of every command that needs settings.
#[derive(Args)]
pub(super) struct Layers {
    /// The settings file; without it $BRIDGE_CONFIG, config/bridge.yaml or /app/config/bridge.yaml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one key, over all else (may be repeated).
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// For a developer's machine: what protects health data may be left out.
    #[arg(long)]
    development: bool,
}

impl Layers {
    /// Reads the settings: these flags over the process's environment, over the file.
    pub(super) fn load_all(&self) -> Result<Loaded, Failure> {
        valid(self.examine(&[]))
    }

    /// The same for a command that nobody can ask over the network: faults of what only whoever listens
    /// needs do not stop it.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let (loaded, Faults(mut faults)) = self.examine(&[]);
        let typed = |fault: &Fault| fault.source == Some(Source::Flag);
        faults.retain(|fault| typed(fault) || !fault.is_within(&["http", "auth"]));
        valid((loaded, Faults(faults)))
    }

    /// The same for a command that needs these sections or keys only: faults of others do not stop it. Each
    /// of `also` counts as a --set.
    pub(super) fn load_sections(
        &self,
        sections: &[&str],
        also: &[(&str, &str)],
    ) -> Result<Loaded, Failure> {
        let (loaded, Faults(mut faults)) = self.examine(also);
        faults.retain(|fault| fault.concerns(sections));
        valid((loaded, Faults(faults)))
    }

    /// The settings as far as they can be read, and all that is wrong with them.
    pub(super) fn examine(&self, also: &[(&str, &str)]) -> (Loaded, Faults) {
        let mut inputs = Inputs::of_environment(std::env::vars_os());
        inputs.file.clone_from(&self.config);
        inputs.development = self.development;
        let mut malformed = Vec::new();
        for given in &self.set {
            match given.split_once('=') {
                Some((key, value)) => inputs.overrides.push((key.to_owned(), value.to_owned())),
                // What was given may be a secret.
                None => malformed.push(Fault {
                    source: Some(Source::Flag),
                    key: String::new(),
                    problem: "a --set has no `=`; wanted is --set KEY=VALUE".to_owned(),
                }),
            }
        }
        let also = also.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        inputs.overrides.extend(also);
        let (loaded, Faults(mut faults)) = Loaded::despite_faults(&inputs);
        faults.extend(malformed);
        (loaded, Faults(faults))
    }
}

fn valid((loaded, faults): (Loaded, Faults)) -> Result<Loaded, Failure> {
    if faults.0.is_empty() { Ok(loaded) } else { Err(Failure::Settings(faults)) }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match &arguments.command {
        Command::Check(layers) => {
            let loaded = layers.load_all()?;
            show(&loaded, &mut output)?;
            for notice in &loaded.notices {
                complain(&format_args!("notice: `{}`: {}", notice.key, notice.text));
            }
        }
        Command::Defaults => output.write_all(reference().as_bytes())?,
    }
    Ok(())
}

/// One line a setting: key, value, source.
fn show(loaded: &Loaded, output: &mut impl Write) -> io::Result<()> {
    let values: Vec<String> = KEYS.iter().map(|key| key.show(&loaded.settings)).collect();
    let widths = values.iter().map(|value| value.chars().count());
    let value_width = widths.filter(|width| *width <= VALUE_WIDTH_MAX).max().unwrap_or(0);
    let key_width = KEYS.iter().map(|key| key.path.len()).max().unwrap_or(0);
    for ((key, value), source) in KEYS.iter().zip(&values).zip(&loaded.sources) {
        writeln!(output, "{:key_width$}  {value:value_width$}  {source}", key.path)?;
    }
    Ok(())
}
