//! The command `biometric-bridge`; what it can do is in the library.

use std::process::ExitCode;

/// Serves the libraries in C too, and gives back what a burst has taken.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Two libraries bring a provider each; this one is meant. Somebody who was first is right as well.
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    biometric_bridge::cli::main()
}
