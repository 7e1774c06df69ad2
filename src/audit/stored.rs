//! The log of accesses as the database has it, read chain by chain while it goes on.

use std::collections::BTreeMap;

use actors::hash_chain::{Head, writer_of};
use actors::store::StoreError;

use super::claims::Claims;
use super::verify::{Report, Verifier};
use crate::store::{Administration as _, SqlStore, StoredAccess};

/// Rows that are read at once.
const PAGE: u64 = 5_000;

/// Chains that are looked for at once.
const CHAINS: usize = 1_000;

/// A chain: its writer, and where it ends.
pub type Chain = (String, Head);

/// All chains, in order of their writers.
///
/// # Errors
///
/// When the store is away.
pub async fn chains(store: &SqlStore) -> Result<Vec<Chain>, StoreError> {
    let mut all: Vec<Chain> = Vec::new();
    loop {
        let after = all.last().map(|(writer, _)| writer.as_str());
        let found = store.chains(after, CHAINS).await?;
        if found.is_empty() {
            return Ok(all);
        }
        all.extend(found);
    }
}

/// How many rows these chains have, as far as their numbers say.
pub fn count(chains: &[Chain]) -> u64 {
    let rows = chains.iter().map(|(_, head)| u64::try_from(head.sequence).unwrap_or(0));
    rows.fold(0, u64::saturating_add)
}

/// Gives every row of these chains, each chain's in order.
///
/// # Errors
///
/// When the store is away, or whoever takes the rows fails.
pub async fn each_row<E: From<StoreError>>(
    store: &SqlStore,
    chains: &[Chain],
    mut each: impl FnMut(StoredAccess) -> Result<(), E>,
) -> Result<(), E> {
    for (writer, _) in chains {
        let mut after = i64::MIN;
        loop {
            let page = store.chain_rows(writer, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.sequence.unwrap_or(i64::MAX);
            page.into_iter().try_for_each(&mut each)?;
        }
    }
    Ok(())
}

/// Gives every row that is in no chain, in the order in which they came.
///
/// # Errors
///
/// As [`each_row`].
pub async fn each_unchained<E: From<StoreError>>(
    store: &SqlStore,
    mut each: impl FnMut(StoredAccess) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = i64::MIN;
    loop {
        let page = store.unchained_rows(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        page.into_iter().try_for_each(&mut each)?;
    }
}

/// Verifies everything. `claims` were read before: what checkpoints have seen is there when it is looked for.
///
/// # Errors
///
/// When the store is away.
pub async fn verify(
    store: &SqlStore,
    claims: Claims,
    chains: &[Chain],
    mut progress: impl FnMut(),
) -> Result<Report, StoreError> {
    let lanes = store.lanes().await?;
    let batches: BTreeMap<String, i64> =
        lanes.iter().map(|row| (writer_of(row.lane), row.progress.batch)).collect();
    let mut verifier = Verifier::new(claims, batches);
    verifier.know(chains.iter().map(|(writer, _)| writer.clone()));
    verifier.unchained(&store.unchained().await?);
    each_row(store, chains, |row| {
        progress();
        verifier.row(&row);
        Ok::<_, StoreError>(())
    })
    .await?;
    Ok(verifier.finish())
}
