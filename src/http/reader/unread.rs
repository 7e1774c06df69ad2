//! Why nothing is shown, and what of that whoever asked is told. Quotes nothing that is stored.

use actors::restore::RestoreError;
use actors::seal::KeysAway;
use actors::store::StoreError;

use super::turns::Busy;
use crate::export::ExportError;
use crate::http::problem::Problem;

/// Why nothing is shown.
pub(super) enum Unread {
    /// There is no such person, or they have no such thing.
    Nobody,
    /// What was asked for comes to nothing; says why.
    Nothing(String),
    /// More records lie between than are looked at; names the field that reaches so far.
    TooFar(&'static str, String),
    /// It cannot be written down who reads.
    NotLogged(StoreError),
    /// Store or keys are away.
    Away(String),
    /// What is stored does not open.
    Broken(String),
    /// Too many wait to read.
    Busy,
}

pub(super) fn told(unread: Unread) -> Problem {
    match unread {
        Unread::Nobody => Problem::not_found(),
        Unread::Nothing(why) => Problem::conflict(why),
        Unread::TooFar(name, detail) => Problem::unprocessable(name, &detail),
        Unread::NotLogged(error) => {
            tracing::error!(%error, "nothing is shown: phi_access_log takes no rows");
            Problem::unavailable("it cannot be written down who reads, so nothing is shown")
        }
        Unread::Busy => Problem::unavailable("too many wait to read what is stored"),
        Unread::Away(problem) => {
            tracing::warn!(%problem, "a read is not answered");
            Problem::unavailable("the store is away")
        }
        Unread::Broken(problem) => {
            tracing::error!(%problem, "what is stored cannot be shown");
            Problem::broken()
        }
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away(_) | StoreError::NotYet(_) | StoreError::Denied(_) => {
                Self::Away(error.to_string())
            }
            StoreError::Refused(_) | StoreError::Outdated(_) => Self::Broken(error.to_string()),
        }
    }
}

impl From<Busy> for Unread {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

impl From<KeysAway> for Unread {
    fn from(error: KeysAway) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<RestoreError> for Unread {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Store(error) => error.into(),
            RestoreError::Keys(error) => error.into(),
            // Its text says nothing of whom.
            RestoreError::Unreadable { .. } => Self::Broken(error.to_string()),
        }
    }
}

impl From<ExportError> for Unread {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Keys(error) => error.into(),
            ExportError::State(error) => error.into(),
            ExportError::Unopened { .. } | ExportError::Output(_) => {
                Self::Broken(error.to_string())
            }
        }
    }
}
