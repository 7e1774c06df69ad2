//! `quarantine`: users of whom nothing is evaluated because an evaluation of theirs failed, and their
//! release. The lane's owner applies what waited; this only asks for it.

use std::io::{self, Write as _};

use actors::command::{Order, RELEASED};
use actors::home::home;
use clap::{Args, Subcommand};

use super::asking::{Asking, NOTED, Patience};
use super::config::Layers;
use super::failure::Failure;
use super::servers::{self, block_on};

/// Shows and releases users in quarantine.
///
/// A user whose evaluation failed by a fault of the program is put aside, so that nobody else waits: their
/// records are kept as dead letters with the reason `quarantined` until a release that can evaluate
/// them.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Who is in quarantine, since when, and how many records wait.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        layers: Layers,
    },
    /// Applies the records that waited, in order and with their original times, and ends the
    /// quarantine.
    ///
    /// A record that still fails keeps the quarantine; those before it are applied. To go on without it:
    /// `dlq list --user ID`, then `dlq discard LANE/NUMBER`, then release again.
    #[command(after_help = "Examples:
  biometric-bridge quarantine release u1
  biometric-bridge quarantine release u1 u2 --wait 5m")]
    Release {
        /// Whom.
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        layers: Layers,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::List { json, layers } => list(*json, layers),
        Command::Release { users, patience, layers } => release(users, patience, layers),
    }
}

fn list(json: bool, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    let users = block_on(async {
        let store = servers::checked_store(&settings).await?;
        let users = store.quarantined_users().await?;
        servers::close(&store).await;
        Ok(users)
    })?;
    let mut output = io::stdout().lock();
    for user in &users {
        let (user_id, since) = (&user.user_id, user.since.to_string());
        if json {
            let line = serde_json::json!({
                "user_id": user_id, "since": since, "waiting": user.waiting,
            });
            writeln!(output, "{line}")?;
        } else {
            let user_id = crate::telemetry::escaped(user_id);
            writeln!(output, "{user_id}  since {since}, {} records wait", user.waiting)?;
        }
    }
    if users.is_empty() && !json {
        writeln!(output, "nobody is in quarantine")?;
    }
    Ok(output.flush()?)
}

fn release(users: &[String], patience: &Patience, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    let outcomes = block_on(async {
        let asking = Asking::open(&settings).await?;
        let mut asked = Vec::with_capacity(users.len());
        for user_id in users {
            let lane = home(user_id, asking.routing.partition_count);
            let order = Order::Release { user_id: user_id.clone() };
            asked.push(asking.ask(lane, order).await?);
        }
        let outcomes = asking.outcomes(&asked, patience).await;
        servers::close(&asking.store).await;
        outcomes
    })?;
    let mut output = io::stdout().lock();
    let mut kept = 0;
    for (user_id, outcome) in users.iter().zip(&outcomes) {
        let is_well = outcome == RELEASED || outcome.starts_with(NOTED);
        kept += usize::from(!is_well);
        writeln!(output, "{}: {outcome}", crate::telemetry::escaped(user_id))?;
    }
    output.flush()?;
    match kept {
        0 => Ok(()),
        kept => Err(Failure::Unavailable(format!("{kept} of {} not released", users.len()))),
    }
}
