//! The compare-and-set of a lane's row: the fence. Never writes who owns the lane.

use actors::defect::Defect;
use actors::lane::Counts;
use actors::rows::Batch;

use super::Statement;
use crate::store::{instant, progress};

/// The command, with how the row is found beside its key. It gives the place of the new version.
macro_rules! compare_and_set {
    ($($found:literal)?) => {
        compare_and_set!(
            of "fence_token = $2 AND batch = $3 AND events_position = $4 AND by_user_position = $5 "
                $(, $found)?
        )
    };
    (of $fence:literal $(, $found:literal)?) => {
        concat!(
            "UPDATE lanes SET
                batch = $6, events_position = $7, by_user_position = $8, marks = $9,
                forwarded = $10, closed = $11, outbox = $12, users = $13, reflex = $14,
                guardian = $15, pattern = $16, hypothesis = $17, stamp = $18, checkpointed = $19,
                events_new = $20, events_duplicate = $21, events_dead_letter = $22,
                events_forwarded = $23, events_skipped = $24, by_user_new = $25,
                by_user_duplicate = $26, by_user_dead_letter = $27, by_user_forwarded = $28,
                by_user_skipped = $29
            WHERE lane = $1 AND ",
            $fence,
            $($found,)?
            " RETURNING ctid::text AS place"
        )
    };
}

/// The command that sets a lane's row, wherever it lies; or looking at one place only: while an old snapshot is open,
/// all versions since then are behind the key, and this alone does not look at each of them.
pub(super) fn compare_and_set(at_its_place: bool) -> &'static str {
    if at_its_place {
        return compare_and_set!("AND ctid = $30::text::tid");
    }
    if Defect::FenceRemoved.is_on() {
        return compare_and_set!(
            of "$2::uuid IS NOT NULL AND least($3::bigint, $4::bigint, $5::bigint) IS NOT NULL "
        );
    }
    if Defect::PositionsUncompared.is_on() {
        return compare_and_set!(
            of "fence_token = $2 AND batch = $3 AND least($4::bigint, $5::bigint) IS NOT NULL "
        );
    }
    compare_and_set!()
}

/// Its parameters; `place` if it looks at one only.
pub(super) fn bind(statement: Statement, batch: &Batch, place: Option<String>) -> Statement {
    let (before, after) = (&batch.before, &batch.after);
    let mut statement = statement
        .bind(batch.lane.0)
        .bind(batch.token.0)
        .bind(before.batch)
        .bind(before.positions.events)
        .bind(before.positions.by_user)
        .bind(after.batch)
        .bind(after.positions.events)
        .bind(after.positions.by_user)
        .bind(progress::offsets_text(&after.marks))
        .bind(progress::offsets_text(&after.forwarded))
        .bind(progress::closed_text(after.closed.as_ref()))
        .bind(after.outbox)
        .bind(after.users);
    for users in progress::modes(after) {
        statement = statement.bind(users);
    }
    statement = statement.bind(instant::of(after.stamp)).bind(instant::of(after.checkpointed));
    for counts in [&after.counts.events, &after.counts.by_user] {
        let Counts { new, duplicate, dead_letter, forwarded, skipped } = counts;
        for count in [new, duplicate, dead_letter, forwarded, skipped] {
            statement = statement.bind(*count);
        }
    }
    match place {
        Some(place) => statement.bind(place),
        None => statement,
    }
}
