//! `migrate`: the database's schema.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};

use super::config::Layers;
use super::failure::Failure;
use super::servers::{block_on, close, store};
use crate::app::keys::open_key_store;
use crate::store::SchemaStatus;

/// Brings the database's schema up, takes it down, or says where it is.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes all changes that are missing; several processes may do it at once.
    #[command(after_help = "Example:\n  POSTGRES_URL=postgresql://… biometric-bridge migrate up")]
    Up {
        #[command(flatten)]
        layers: Layers,
    },
    /// Takes the newest changes back: everything in what they made is lost.
    #[command(after_help = "Example:\n  biometric-bridge migrate down --steps 1 --yes")]
    Down {
        /// How many.
        #[arg(long, default_value_t = 1)]
        steps: u32,
        /// Yes, the data may go.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        layers: Layers,
    },
    /// Says which changes the database has.
    #[command(after_help = "Example:\n  biometric-bridge migrate status

Exit code 78 when the schema and this program do not fit.")]
    Status {
        #[command(flatten)]
        layers: Layers,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (Command::Up { layers } | Command::Down { layers, .. } | Command::Status { layers }) =
        &arguments.command;
    if let Command::Down { yes: false, .. } = arguments.command {
        return Err(Failure::Broken(
            "taking the schema down loses the data in it; say --yes to do it".to_owned(),
        ));
    }
    let settings = layers.load()?.settings;
    block_on(async {
        let store = store(&settings).await?;
        let status = match arguments.command {
            Command::Up { .. } => store.migrate_up().await?,
            Command::Down { steps, .. } => store.migrate_down(steps).await?,
            Command::Status { .. } => store.schema_status().await?,
        };
        // Who keeps house already sets its own.
        if let Command::Up { .. } = arguments.command
            && let Some(turn) = store.take_turn().await?
        {
            let age = settings.store.compress_after;
            store.compress_after((!age.is_zero()).then_some(age)).await?;
            turn.end().await?;
        }
        show(&status)?;
        if settings.keys.url.is_some() {
            let key_store = open_key_store(&settings, &store).await?;
            let status = match arguments.command {
                Command::Up { .. } => key_store.migrate_keys_up().await?,
                // What is in it is never lost by a step too many.
                Command::Down { .. } | Command::Status { .. } => {
                    key_store.key_schema_status().await?
                }
            };
            show(&status)?;
            close(&key_store).await;
            if let Command::Status { .. } = arguments.command {
                status.check()?;
            }
        }
        close(&store).await;
        match arguments.command {
            Command::Status { .. } => Ok(status.check()?),
            Command::Up { .. } | Command::Down { .. } => Ok(()),
        }
    })
}

fn show(status: &SchemaStatus) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let lists =
        [("applied", &status.applied), ("pending", &status.pending), ("unknown", &status.unknown)];
    for (word, changes) in lists {
        for change in changes {
            writeln!(output, "{word:<8} {change}")?;
        }
    }
    output.flush()
}
