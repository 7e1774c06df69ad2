//! The commands that people use around the service: sending events, the doctor, the health check.

mod doctor;
mod healthcheck;
mod send;

use assert_cmd::Command;

/// The program in a folder of its own: no settings but those that a test gives.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biometric-bridge"));
    command.current_dir(crate::servers::folder()).env_clear().args(arguments);
    command
}
