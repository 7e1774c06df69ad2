//! Which lane is asked about a dead letter: its user's home, which since it was read may have become another
//! than the lane that has it. Shows nothing of it.

use std::collections::BTreeMap;

use actors::dead_letter::{self, Letter};
use actors::home::home;
use actors::intake;
use actors::lane::Lane;
use actors::seal::Seal as _;
use actors::store::{AskedLetters, Store as _, StoredLetter};
use neuros::time::Timestamp;
use neuros::wire::Intake;

use crate::cli::asking::Asking;
use crate::cli::failure::Failure;

/// Dead letters that are looked at together.
const PAGE: usize = 500;

/// The letters by the lane that is to see to them, each lane's in the order in which they failed.
pub(super) async fn by_lane(
    asking: &Asking,
    names: &[Letter],
) -> Result<BTreeMap<Lane, Vec<Letter>>, Failure> {
    let mut addressed: Vec<(Option<Timestamp>, Letter, Lane)> = Vec::with_capacity(names.len());
    for page in names.chunks(PAGE) {
        let stored = asking.store.letters(AskedLetters::Named(page)).await?;
        let stored: BTreeMap<Letter, StoredLetter> =
            stored.into_iter().map(|stored| (stored.letter, stored)).collect();
        for name in page {
            let stored = stored.get(name);
            let failed_at = stored.map(|stored| stored.failed_at);
            let lives = stored.and_then(|stored| home_of(asking, stored));
            // Whoever is asked finds out that it is not there, or still no event. Any lane may say so: the
            // one that has read it may be no more.
            let count = asking.routing.partition_count.max(1);
            let lane = lives.unwrap_or(Lane(name.lane.0.rem_euclid(count)));
            addressed.push((failed_at, *name, lane));
        }
    }
    addressed.sort_unstable();
    let mut lanes = BTreeMap::<Lane, Vec<Letter>>::new();
    for (_, name, lane) in addressed {
        lanes.entry(lane).or_default().push(name);
    }
    Ok(lanes)
}

/// Where whoever it is about lives now, when that much can be read.
fn home_of(asking: &Asking, stored: &StoredLetter) -> Option<Lane> {
    let place = dead_letter::place(stored.letter);
    let bytes = asking.seal.open(&asking.service_key, place, &stored.body).ok()?;
    let raw = dead_letter::of_bytes(&bytes)?;
    // Whether it is accepted is the service's to say; whose it is does not depend on that.
    let bytes_max = usize::try_from(asking.routing.bytes_max).unwrap_or(usize::MAX);
    let wire = Intake { bytes_max, ..Intake::default() };
    let user_id = intake::user_of(&raw, stored.record_time, &wire)?;
    Some(home(&user_id, asking.routing.partition_count))
}
