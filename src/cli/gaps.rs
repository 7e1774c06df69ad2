//! `gaps`: stretches of the log that were skipped, each with its reason.

use std::io::{self, Write as _};

use clap::{Args, Subcommand};

use super::config::Layers;
use super::failure::Failure;
use super::servers::{self, block_on};
use crate::app::topics_of;

/// Shows what was skipped and never applied.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every stretch of the log that was skipped, oldest first, with its reason.
    ///
    /// There are some after the log's retention has passed a lane, after `topics adopt`, and where a
    /// forwarded record is missing for good. Without any, nothing was ever skipped.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        layers: Layers,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Command::List { json, layers } = &arguments.command;
    let settings = layers.load()?.settings;
    let gaps = block_on(async {
        let store = servers::checked_store(&settings).await?;
        let gaps = store.gaps().await?;
        servers::close(&store).await;
        Ok(gaps)
    })?;
    let topics = topics_of(&settings);
    let mut output = io::stdout().lock();
    for gap in &gaps {
        let topic = topics.of(gap.source);
        let (lane, at) = (gap.lane.0, gap.recorded_at.to_string());
        if *json {
            let line = serde_json::json!({
                "topic": topic, "partition": lane, "generation": gap.generation, "from": gap.from,
                "to": gap.to, "reason": gap.reason, "recorded_at": at,
            });
            writeln!(output, "{line}")?;
        } else {
            writeln!(
                output,
                "{at}  {topic}/{lane}, generation {}: {} to {} ({})",
                gap.generation,
                gap.from,
                gap.to,
                crate::telemetry::escaped(&gap.reason)
            )?;
        }
    }
    if gaps.is_empty() && !json {
        writeln!(output, "nothing was ever skipped")?;
    }
    Ok(output.flush()?)
}
