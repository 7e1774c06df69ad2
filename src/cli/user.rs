//! `user`: what the service's logs call somebody. Shows nothing of what is stored of them.

use std::io::{self, Write as _};

use actors::seal::KeyRing as _;
use clap::{Args, Subcommand};

use super::config::Layers;
use super::failure::Failure;
use super::servers::{self, block_on, log_access};

/// Finds a user in the service's logs.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints what log lines call a user, in their field `user`; audited.
    ///
    /// Logs never have the id of a user, but the first 16 hex digits of HMAC-SHA-256 over it, under a key that
    /// is derived from the first data key of the service itself. It stays the same whatever keys are replaced.
    #[command(after_help = "Examples:
  biometric-bridge user tag u1
  kubectl logs deploy/biometric-bridge | grep \"$(biometric-bridge user tag u1)\"")]
    Tag {
        /// Whose; there need be no such user.
        #[arg(value_name = "USER_ID")]
        user_id: String,
        #[command(flatten)]
        layers: Layers,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Command::Tag { user_id, layers } = &arguments.command;
    let settings = layers.load()?.settings;
    let tag = block_on(async {
        let opened = servers::store_with_keys(&settings).await?;
        let known = opened.keys.service_key().await;
        known.map_err(|error| Failure::Unavailable(error.to_string()))?;
        log_access(&opened.store, "users", Some(user_id), 1).await?;
        let tag = opened.keys.tag_of(user_id);
        opened.close().await;
        Ok(tag)
    })?;
    let mut output = io::stdout().lock();
    writeln!(output, "{tag}")?;
    Ok(output.flush()?)
}
