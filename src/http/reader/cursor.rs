//! How far somebody has come who follows everybody: a position in each lane's outbox. Opaque to whoever keeps it,
//! and no secret: it says nothing of anybody.

use std::collections::BTreeMap;

use actors::lane::Lane;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Everything up to these numbers is known, by lane; of a lane that is not here, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor(BTreeMap<Lane, i64>);

/// Lanes in a cursor, at most: Kafka's topics have fewer partitions.
const LANES_MAX: usize = 100_000;
/// What a cursor begins with: the version of what follows.
const VERSION: &str = "1";

impl Cursor {
    /// At these heads.
    pub(super) fn at(heads: BTreeMap<Lane, i64>) -> Self {
        Self(heads)
    }

    /// The newest number of a lane that is known.
    pub(super) fn of(&self, lane: Lane) -> i64 {
        self.0.get(&lane).copied().unwrap_or(0)
    }

    /// Goes on to a number of a lane, never back.
    pub(super) fn move_to(&mut self, lane: Lane, number: i64) {
        let known = self.0.entry(lane).or_default();
        *known = number.max(*known);
    }

    /// Whether all is known that `other` knows.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(lane, number)| self.of(*lane) >= *number)
    }

    /// As text.
    pub(super) fn encode(&self) -> String {
        let mut text = VERSION.to_owned();
        for (lane, number) in &self.0 {
            text.push_str(&format!(" {lane}:{number}", lane = lane.0));
        }
        BASE64_URL_SAFE_NO_PAD.encode(text)
    }

    /// From text; `None` when it is none that was given here.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return None;
        }
        let mut positions = BTreeMap::new();
        for word in words {
            let (lane, number) = word.split_once(':')?;
            let (lane, number) = (lane.parse().ok()?, number.parse().ok()?);
            if lane < 0 || number < 0 || positions.len() >= LANES_MAX {
                return None;
            }
            positions.insert(Lane(lane), number);
        }
        Some(Self(positions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_given_and_nothing_else_is_one() {
        let cursor = Cursor::at([(Lane(0), 0), (Lane(2), i64::MAX)].into());
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        assert_eq!(Cursor::decode(&Cursor::default().encode()), Some(Cursor::default()));
        for wrong in ["", "1", "2 0:1", "1 0:-1", "1 -1:0", "1 0", "1 0:1 ", "1 0:x"] {
            let text = BASE64_URL_SAFE_NO_PAD.encode(wrong);
            let is_one = wrong == "1";
            assert_eq!(Cursor::decode(&text).is_some(), is_one, "{wrong}");
        }
        assert_eq!(Cursor::decode("no base64!"), None);
    }

    #[test]
    fn a_cursor_never_goes_back() {
        let mut cursor = Cursor::default();
        cursor.move_to(Lane(1), 7);
        cursor.move_to(Lane(1), 5);
        assert_eq!((cursor.of(Lane(1)), cursor.of(Lane(0))), (7, 0));
        let other = Cursor::at([(Lane(0), 0), (Lane(1), 6)].into());
        assert!(cursor.covers(&other) && !other.covers(&cursor));
    }
}
