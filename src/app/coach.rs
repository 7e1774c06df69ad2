//! The coach among the parts: it begins before the lanes do, so that it misses none of their mode changes.

use std::sync::Arc;

use actors::ports::Ports;

use super::parts::owner;
use super::{Broken, Starting};
use crate::coach::{Coach, Tools};
use crate::store::SqlStore;

impl Starting<'_> {
    /// Has mode changes told of from now on, when the settings ask for it; says whether the service goes on.
    pub(super) async fn coach(&self, store: &Arc<SqlStore>, ports: &Ports) -> Result<bool, Broken> {
        let tools = Tools {
            store: Arc::clone(store),
            keys: Arc::clone(&ports.keys),
            seal: Arc::clone(&ports.seal),
            watch: Arc::clone(self.watch),
            owner: owner(),
        };
        let coach = Coach::of(&self.settings.coach, tools).map_err(Broken)?;
        let Some(coach) = coach else { return Ok(true) };
        let begun = self.patiently("postgres", || async { Ok(store.begin_coaching().await?) });
        let begun = begun.await?.is_some();
        if begun {
            self.runtime.spawn(coach.run(self.stop.clone()));
        }
        Ok(begun)
    }
}
