//! The receipt of an erasure: what was destroyed, and what remains. It says what was found, and promises nothing.

use neuros::time::Timestamp;
use serde_json::{Value, json};

use super::Erasing;
use super::sweep::{Cleared, Sweep};
use crate::app::now;
use crate::cli::servers::whoami;

/// What kind of a statement it is.
pub(super) const KIND: &str = "biometric-bridge erasure receipt 1";

impl Erasing<'_> {
    pub(super) fn receipt(
        &self,
        swept: &Sweep,
        erased_at: Timestamp,
        remains: Vec<Value>,
    ) -> Value {
        let keys = swept.keys.iter().map(|key| {
            json!({
                "number": key.number,
                "made_at": key.created_at.to_string(),
                "destroyed_at": key.destroyed_at.map(|at| at.to_string()),
            })
        });
        json!({
            "user_id": self.user_id,
            "erased_at": erased_at.to_string(),
            "issued_at": now().to_string(),
            "issued_by": whoami(),
            "cluster": self.asking.routing.log_id,
            "keys_in_a_store_of_their_own": self.settings.keys.url.is_some(),
            "destroyed": {
                "keys": keys.collect::<Vec<_>>(),
                "records": swept.rows.records,
                "mode_changes": swept.rows.transitions,
                "alert_changes": swept.rows.alerts,
                "base_checkpoints": swept.rows.bases,
                "coach_messages": swept.rows.coach_messages,
                "dead_letters": swept.letters.destroyed,
                "cache": match swept.cache {
                    Cleared::None => "there is none",
                    Cleared::Done => "cleared",
                    Cleared::Away(_) => "not reached",
                },
            },
            "remains": remains,
        })
    }
}
