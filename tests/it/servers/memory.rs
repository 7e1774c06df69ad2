//! What lies in the memory of a process. It only looks, and never stops anybody.

use std::fs::{File, read_to_string};
use std::os::unix::fs::FileExt as _;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// How often these bytes stand in the memory that a process may write to; pages that went meanwhile have none.
pub(super) fn count(process: &str, wanted: &[u8]) -> usize {
    let maps = read_to_string(format!("/proc/{process}/maps")).expect("the process is there");
    let memory = File::open(format!("/proc/{process}/mem")).expect("it is one of ours");
    let region = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some((number(start)?, number(end)?))
    };
    let mut found = 0;
    let mut piece = vec![0; PIECE];
    for (start, end) in maps.lines().filter_map(region) {
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            let read = memory.read_at(&mut piece[..length], at).unwrap_or(0);
            found += occurrences(&piece[..read], wanted);
            // What stands across the edge is met with the next piece.
            let step = if length < PIECE { length } else { PIECE - wanted.len() + 1 };
            at += u64::try_from(step).expect("it fits");
        }
    }
    found
}

fn occurrences(text: &[u8], wanted: &[u8]) -> usize {
    let (first, mut found, mut from) = (wanted[0], 0, 0);
    while let Some(place) = text[from..].iter().position(|byte| *byte == first) {
        from += place;
        found += usize::from(text[from..].starts_with(wanted));
        from += 1;
    }
    found
}
