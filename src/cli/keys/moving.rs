//! `keys move`: the wrapped data keys go from the database of the data to a key store of their own. None is deleted
//! before all of them are found there, as they were.

use std::io::{self, Write as _};

use clap::Args;

use crate::app::keys::open_key_store;
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::servers::{block_on, checked_store, close, log_use_of_keys};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    layers: Layers,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.layers.load()?.settings;
    if settings.keys.url.is_none() {
        return Err(Failure::Broken(
            "there is nowhere to move them; name the key store with KEYS_URL".to_owned(),
        ));
    }
    let moved = block_on(async {
        let store = checked_store(&settings).await?;
        let key_store = open_key_store(&settings, &store).await?;
        key_store.migrate_keys_up().await?;
        store.no_instance_runs().await?;
        let count = store.count_keys().await?;
        log_use_of_keys(&store, "MOVE", i64::try_from(count).unwrap_or(i64::MAX)).await?;
        let moved = store.move_keys(&key_store).await;
        close(&key_store).await;
        close(&store).await;
        Ok(moved?)
    })?;
    writeln!(
        io::stdout(),
        "{moved} data keys are in the key store, and no longer in the database of the data.\n\
         Start all instances with KEYS_URL, and back that database up apart."
    )?;
    Ok(())
}
