//! What the database has of the log of accesses, listed and exported. The log goes on meanwhile.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::json;

use crate::audit::export::Exporting;
use crate::audit::stored::{chains, count, each_row, each_unchained};
use crate::cli::asking::progress;
use crate::cli::config::Layers;
use crate::cli::failure::Failure;
use crate::cli::keys::new_file;
use crate::cli::servers::{block_on, checked_store, close, log_access};
use crate::store::SqlStore;

pub(super) fn list(json: bool, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    block_on(async {
        let store = checked_store(&settings).await?;
        let unchained = store.unchained().await?;
        let chains = chains(&store).await?;
        close(&store).await;
        let mut output = BufWriter::new(io::stdout().lock());
        for (writer, head) in &chains {
            let hash = head.hash.map(|hash| hex::encode(hash.to_bytes())).unwrap_or_default();
            let sequence = head.sequence;
            if json {
                let line = json!({ "writer": writer, "sequence": sequence, "hash": hash });
                writeln!(output, "{line}")?;
            } else {
                let writer = crate::telemetry::escaped(writer);
                writeln!(output, "{writer:<44} {sequence:>12}  {hash}")?;
            }
        }
        if unchained.rows > 0 && !json {
            writeln!(output, "{} rows are in no chain", unchained.rows)?;
        }
        if chains.is_empty() && !json {
            writeln!(output, "there are no chains: nothing has run on this database yet")?;
        }
        Ok(output.flush()?)
    })
}

pub(super) fn export(path: &Path, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    let file = Some(path).filter(|path| *path != Path::new("-"));
    let output: Box<dyn Write> = match file {
        Some(path) => Box::new(
            new_file(path)
                .map_err(|source| Failure::NotCreated { path: path.to_owned(), source })?,
        ),
        None => Box::new(io::stdout().lock()),
    };
    let written = block_on(async {
        let store = checked_store(&settings).await?;
        let written = write(&store, output).await;
        close(&store).await;
        written
    });
    let Some(path) = file else { return written.map(drop) };
    match written {
        Ok(rows) => {
            let path = path.display();
            let and = "it says who has looked at whose data";
            Ok(writeln!(io::stdout(), "{rows} rows are in {path}; {and}")?)
        }
        Err(failure) => {
            // Half an export would only be in the way of the next attempt; that it stays is no worse.
            drop(fs::remove_file(path));
            Err(failure)
        }
    }
}

async fn write(store: &SqlStore, output: Box<dyn Write>) -> Result<u64, Failure> {
    let unchained = store.unchained().await?.rows;
    let rows = unchained.saturating_add(count(&chains(store).await?));
    log_access(store, "phi_access_log", None, i64::try_from(rows).unwrap_or(i64::MAX)).await?;
    let chains = chains(store).await?;
    let bar = progress(unchained.saturating_add(count(&chains)), "rows");
    let mut exporting = Exporting::begin(BufWriter::with_capacity(1 << 16, output))?;
    let mut take = |row| {
        bar.inc(1);
        exporting.row(row).map_err(Failure::Output)
    };
    each_unchained(store, &mut take).await?;
    each_row(store, &chains, &mut take).await?;
    bar.finish_and_clear();
    Ok(exporting.end()?)
}
