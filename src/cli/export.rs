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
  biometric-bridge export person --user u1 > u1.ndjson")]
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
    /// What the coach has said of mode changes.
    CoachMessages,
    /// All that is held of one person: what is above, and dead letters, facts about keys, commands and
    /// accesses; each line says which part it is. It takes --user.
    Person,
}

impl Kind {
    /// What is written, unless it is all of one person; and the table that it is from, mainly.
    fn what(self) -> (Option<What>, &'static str) {
        match self {
            Self::Log => (Some(What::Log), "biometric_events"),
            Self::States => (Some(What::States), "neuros_checkpoints"),
            Self::Transitions => (Some(What::Transitions), "cognitive_mode_transitions"),
            Self::Alerts => (Some(What::Alerts), "biometric_alerts"),
            Self::CoachMessages => (Some(What::CoachMessages), "coach_messages"),
            Self::Person => (None, "users"),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if matches!(arguments.what, Kind::Person) && arguments.user.is_none() {
        return Err(Failure::Usage("whose? say --user ID".to_owned()));
    }
    let settings = arguments.layers.load()?.settings;
    block_on(async {
        let (what, table) = arguments.what.what();
        let opened = store_with_keys(&settings).await?;
        let store = &opened.store;
        let seal = Sealer::new(settings.keys.algorithm.into())?;
        let keys = Arc::clone(&opened.keys) as _;
        let exporter = Exporter::new(Arc::clone(store), keys, Arc::new(seal));
        let users = exporter.users(arguments.user.as_deref()).await?;
        // Of somebody who is not known there may be dead letters.
        let may_be_known = what.is_none() || !users.is_empty();
        let one = arguments.user.as_deref().filter(|_| may_be_known);
        let count = i64::try_from(users.len()).unwrap_or(i64::MAX);
        log_access(store, table, one, count).await?;
        let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let written = match (what, &arguments.user) {
            (Some(what), _) => exporter.write(what, &users, &mut output).await?,
            (None, user_id) => {
                let user_id = user_id.as_deref().unwrap_or_default();
                exporter.person(user_id, &opened.key_store, &mut output).await?
            }
        };
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
