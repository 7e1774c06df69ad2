//! The command `biometric-bridge`; what it can do is in the library.

use std::process::ExitCode;

/// A quarter of the service's time on a loaded machine went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two libraries bring a provider each; this one is meant. Somebody who was first is right as well.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    biometric_bridge::cli::main()
}
