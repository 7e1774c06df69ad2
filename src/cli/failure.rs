//! How a command can fail, and the exit code for each way (after `sysexits.h`).

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use neuros::policy::Faults;

use crate::app::Fatal;
use crate::seal::NoRandomness;

/// Wrong usage (`EX_USAGE`).
pub(super) const USAGE: u8 = 64;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A line of a log is malformed (`EX_DATAERR`).
    #[error("{input}, line {line}: {problem}; mend it, or skip such lines with --keep-going")]
    MalformedLine { input: String, line: u64, problem: crate::replay::Malformed },
    /// A file is not what it is taken for (`EX_DATAERR`).
    #[error("{0}")]
    Malformed(String),
    /// A file cannot be opened (`EX_NOINPUT`).
    #[error("cannot open {}: {source}", .path.display())]
    NoInput { path: PathBuf, source: io::Error },
    /// Reading failed midway (`EX_IOERR`).
    #[error("cannot read {input}: {source}")]
    Input { input: String, source: io::Error },
    /// The arguments are each allowed and make no sense together (`EX_USAGE`).
    #[error("{0}")]
    Usage(String),
    /// A file cannot be made; one that exists is never overwritten (`EX_CANTCREAT`).
    #[error("cannot create {}: {source}", .path.display())]
    NotCreated { path: PathBuf, source: io::Error },
    /// No key can be made (`EX_OSERR`).
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Writing failed (`EX_IOERR`).
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A policy is invalid (`EX_CONFIG`).
    #[error("{}", list(.path, .faults))]
    Policy { path: PathBuf, faults: Faults },
    /// Settings are invalid (`EX_CONFIG`).
    #[error(transparent)]
    Settings(crate::settings::Faults),
    /// The service cannot work as it is told to (`EX_CONFIG`).
    #[error("{0}")]
    Broken(String),
    /// Only a new process gets over it (`EX_SOFTWARE`).
    #[error("{0}; the process ends so that a new one begins cleanly")]
    Fatal(String),
    /// A server does not do what it is asked for (`EX_UNAVAILABLE`).
    #[error("{0}")]
    Unavailable(String),
    /// The service does not say that it is well.
    #[error("unhealthy: {0}")]
    Unhealthy(String),
    /// The end took too long.
    #[error(
        "not everything ended within shutdown.deadline; the next owner goes on from what is committed"
    )]
    TooLate,
}

impl From<Fatal> for Failure {
    fn from(fatal: Fatal) -> Self {
        match fatal {
            Fatal::Process(problem) => Self::Fatal(problem),
            Fatal::Told(problem) => Self::Broken(problem),
        }
    }
}

impl Failure {
    pub(super) fn exit_code(&self) -> ExitCode {
        let code = match self {
            Self::TooLate | Self::Unhealthy(_) => 1,
            Self::Usage(_) => USAGE,
            Self::MalformedLine { .. } | Self::Malformed(_) => 65,
            Self::NoInput { .. } => 66,
            Self::Unavailable(_) => 69,
            Self::Fatal(_) => 70,
            Self::NoRandomness(_) => 71,
            Self::NotCreated { .. } => 73,
            Self::Input { .. } | Self::Output(_) => 74,
            Self::Policy { .. } | Self::Settings(_) | Self::Broken(_) => 78,
        };
        ExitCode::from(code)
    }
}

fn list(path: &Path, Faults(faults): &Faults) -> String {
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        more => format!("{more} faults"),
    };
    let mut text = format!("{} is no valid policy ({count}):", path.display());
    for fault in faults {
        text.push_str("\n  ");
        text.push_str(&fault.to_string());
    }
    text
}
