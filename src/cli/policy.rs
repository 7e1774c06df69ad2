//! `policy`: is a policy valid, and what is in force.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use neuros::policy::{KEYS, Loaded, Source};

use super::failure::Failure;

/// Bytes of a policy file, at most: the complete one has four thousand.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// Checks a policy, or shows the values in force.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says whether a policy file is valid, and all that is wrong with it at once.
    #[command(after_help = "Example:\n  biometric-bridge policy check config/neuros.yaml")]
    Check {
        /// The policy file.
        file: PathBuf,
    },
    /// Prints every value in force and where it comes from, as a valid policy file.
    #[command(
        after_help = "Example:\n  biometric-bridge policy show --policy my.yaml > whole.yaml"
    )]
    Show {
        /// The policy file; without it the built-in policy is shown.
        #[arg(long = "policy", value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match arguments.command {
        Command::Check { file } => {
            let loaded = load(Some(&file))?;
            writeln!(output, "{}: valid, version {}", file.display(), loaded.policy.version)?;
        }
        Command::Show { file } => {
            let loaded = load(file.as_deref())?;
            show(&loaded, file.as_deref(), &mut output)?;
        }
    }
    Ok(())
}

/// The policy in `file`, or the built-in one.
pub(super) fn load(file: Option<&Path>) -> Result<Loaded, Failure> {
    let Some(path) = file else {
        return Ok(Loaded::built_in());
    };
    let file =
        File::open(path).map_err(|source| Failure::NoInput { path: path.to_owned(), source })?;
    let unreadable = |source| Failure::Input { input: path.display().to_string(), source };
    let mut text = String::new();
    file.take(POLICY_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > POLICY_BYTES_MAX {
        let problem = format!("longer than {POLICY_BYTES_MAX} bytes");
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, problem)));
    }
    Loaded::from_yaml(&text).map_err(|faults| Failure::Policy { path: path.to_owned(), faults })
}

fn show(loaded: &Loaded, file: Option<&Path>, output: &mut impl Write) -> io::Result<()> {
    let origin = |source: &Source| match (source, file) {
        (Source::Line(line), Some(file)) => format!("{}:{line}", file.display()),
        (Source::Line(line), None) => format!("line {line}"),
        (Source::Default, _) => "default".to_owned(),
    };
    let version = &loaded.policy.version;
    match &loaded.version_source {
        // As a comment: the hash of this content must not be taken along to another.
        Source::Default => writeln!(output, "# version: {version:?}, the hash of the content")?,
        source @ Source::Line(_) => writeln!(output, "version: {version:?}  # {}", origin(source))?,
    }
    let mut current_section = "";
    for (key, source) in KEYS.iter().zip(&loaded.sources) {
        let value = key.show(&loaded.policy);
        match key.path.split_once('.') {
            Some((section, name)) => {
                if section != current_section {
                    writeln!(output, "{section}:")?;
                    current_section = section;
                }
                writeln!(output, "  {name}: {value}  # {}", origin(source))?;
            }
            None => writeln!(output, "{}: {value}  # {}", key.path, origin(source))?,
        }
    }
    Ok(())
}
