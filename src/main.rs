//! The command `biometric-bridge`; what it can do is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    biometric_bridge::cli::main()
}
