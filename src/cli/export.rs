//! `export`: what the store holds, in the clear. Each export is written down before anything is shown.

use std::io::{self, BufWriter};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::complain;
use super::config::Layers;
use super::failure::Failure;
use super::servers::{block_on, log_access, store_with_keys};
use crate::export::{ExportError, Exporter, What};
use crate::seal::Sealer;

/// Prints what the store holds, in the clear, one JSON object a line.
///
/// `log` is in the format that `replay` reads, each user's records in the order in which they were
/// applied; `states` is what `replay --state` prints. So `export log | replay --state` equals
/// `export states`. Every export is written to `phi_access_log` first.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge export log > log.ndjson
  biometric-bridge export transitions --user u1 | jq -r .reason_text
  for what in log states transitions alerts; do biometric-bridge export $what --user u1; done")]
pub(super) struct Arguments {
    /// What to print.
    #[arg(value_enum)]
    what: Kind,
    /// This user only.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    #[command(flatten)]
    layers: Layers,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Records, as a log that `replay` reads.
    Log,
    /// Where everybody stands.
    States,
    /// Mode changes with their explanations.
    Transitions,
    /// Changes of alerts.
    Alerts,
}

impl Kind {
    fn what(self) -> (What, &'static str) {
        match self {
            Self::Log => (What::Log, "biometric_events"),
            Self::States => (What::States, "neuros_checkpoints"),
            Self::Transitions => (What::Transitions, "cognitive_mode_transitions"),
            Self::Alerts => (What::Alerts, "biometric_alerts"),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    block_on(async {
        let (what, table) = arguments.what.what();
        let opened = store_with_keys(&settings).await?;
        let store = &opened.store;
        let seal = Sealer::new(settings.keys.algorithm.into())?;
        let keys = Arc::clone(&opened.keys) as _;
        let exporter = Exporter::new(Arc::clone(store), keys, Arc::new(seal));
        let users = exporter.users(arguments.user.as_deref()).await?;
        let one = arguments.user.as_deref().zip(users.first()).map(|(id, user)| (*user, id));
        let count = i64::try_from(users.len()).unwrap_or(i64::MAX);
        log_access(store, table, one, count).await?;
        let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let written = exporter.write(what, &users, &mut output).await?;
        if users.is_empty() && arguments.user.is_some() {
            complain(&"nothing is stored of the user asked for");
        }
        if written.erased > 0 {
            complain(&format!("{} users were erased, and nothing of theirs opens", written.erased));
        }
        opened.close().await;
        Ok(())
    })
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Output(error) => Self::Output(error),
            ExportError::Keys(error) => Self::Unavailable(error.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}
