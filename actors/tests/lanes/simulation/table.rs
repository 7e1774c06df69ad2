//! The table of what happened in all seeds, and what must have.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use neuros::wire::Reason;

use crate::world::witness::Happening;

/// Things that must not happen; one that cannot, since a lane commits its batches one after the other; and
/// three that are counted where they are skipped.
const NOT_DUE: [Happening; 5] = [
    Happening::Refused,
    Happening::OutOfStep,
    Happening::OutOfTurn,
    Happening::OtherGeneration,
    Happening::ErasedRefused,
];

/// Everything that must happen in enough seeds.
fn due() -> Vec<String> {
    let happenings = Happening::ALL.iter().filter(|what| !NOT_DUE.contains(what));
    let mut due: Vec<String> = happenings.map(|what| format!("{what:?}")).collect();
    let skips = [
        Happening::ForwardedRepeat,
        Happening::OutOfTurn,
        Happening::OtherGeneration,
        Happening::ErasedRefused,
    ];
    due.extend(skips.map(|what| format!("skipped {what:?}")));
    // Ten thousand readings do not fit into the messages here.
    let reasons = Reason::ALL.into_iter().filter(|reason| *reason != Reason::TooManyReadings);
    due.extend(reasons.map(|reason| format!("dead letter {reason}")));
    due.extend(["misrouted", "quarantined"].map(|reason| format!("dead letter {reason}")));
    let commands =
        ["commands carried out", "letters released", "quarantines ended", "states rebuilt"];
    due.extend(commands.map(str::to_owned));
    due.extend(["users erased", "strangers erased", "users readmitted"].map(str::to_owned));
    let letters = ["letters redriven", "letters redriven in vain", "letters discarded"];
    due.extend(letters.map(str::to_owned));
    due.extend(
        ["duplicates", "revisions", "mode changes", "checkpoints", "bases"].map(str::to_owned),
    );
    due.push("lines of the log".to_owned());
    due.extend(
        ["early records", "late records", "records of a closed generation"].map(str::to_owned),
    );
    due
}

/// The table.
pub(super) fn of(tally: &BTreeMap<String, u64>, seeds: u64) -> String {
    let mut text = format!("in {seeds} seeds\n");
    for (what, count) in tally {
        // A string always takes it.
        let _written = writeln!(text, "{count:>10}  {what}");
    }
    text
}

/// What has never happened and must.
pub(super) fn never(tally: &BTreeMap<String, u64>) -> Vec<String> {
    due().into_iter().filter(|what| tally.get(what).copied().unwrap_or(0) == 0).collect()
}
