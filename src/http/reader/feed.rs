//! Committed messages of all lanes in the order in which they were recorded, read from the store and opened. What
//! nobody has a key for is passed over: its user was erased. What does not open otherwise is told as such.

use std::collections::{BTreeMap, VecDeque};

use actors::lane::{Lane, UserNumber};
use actors::phi::Phi;
use actors::places::outbox_place;
use actors::seal::{DataKey, Unopened};

use super::archive::Opened;
use super::cursor::Cursor;
use super::text::{Text, text_of_opened};
use super::unread::Unread;
use crate::store::{LeavingMessage, LeavingRow};

/// Rows that are read at a time, of all lanes together.
const PAGE: usize = 500;

/// A row of a lane's outbox, in its turn.
pub(super) struct Step {
    pub(super) lane: Lane,
    pub(super) number: i64,
    pub(super) left: Left,
}

/// What is in a row for subscribers.
pub(super) enum Left {
    /// Nothing: it is for none of them, or its user was erased.
    Nothing,
    Message(Message),
    /// A message that does not open.
    Broken {
        user_id: String,
        n: i64,
        problem: String,
    },
}

/// A message of a user, as it left.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) user_id: String,
    pub(super) n: i64,
    pub(super) text: Text,
}

/// Why there is no next page.
pub(super) enum Missing {
    /// It cannot be read now, or at all.
    Unread(Unread),
    /// Rows behind the cursor are no longer kept, or were never there.
    Gone,
}

impl<E: Into<Unread>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Unread(error.into())
    }
}

/// The next rows behind `from` and up to `heads`; none when there are none. Rows of different lanes come in the
/// order of their stamps, so that of a user whose home has changed the older comes first.
pub(super) async fn next(
    opened: &Opened,
    from: &Cursor,
    heads: &BTreeMap<Lane, i64>,
) -> Result<Vec<Step>, Missing> {
    let behind = behind(from, heads)?;
    let limit = page_of_each(behind.len());
    let mut pages = BTreeMap::new();
    for (lane, after, head) in behind {
        let rows = opened.store.leaving(lane, after, head, limit).await?;
        let is_whole = rows.iter().zip(after + 1..).all(|(row, number)| row.number == number);
        if rows.is_empty() || !is_whole {
            return Err(Missing::Gone);
        }
        pages.insert(lane, VecDeque::from(rows));
    }
    open(opened, merged(pages, heads)).await.map_err(Missing::Unread)
}

/// The lanes that have rows behind `from`, with where they begin and end.
fn behind(from: &Cursor, heads: &BTreeMap<Lane, i64>) -> Result<Vec<(Lane, i64, i64)>, Missing> {
    let places = heads.iter().map(|(&lane, &head)| (lane, from.of(lane), head));
    let places: Vec<_> = places.filter(|(_, after, head)| after != head).collect();
    match places.iter().any(|(_, after, head)| after > head) {
        true => Err(Missing::Gone),
        false => Ok(places),
    }
}

/// Rows of one of so many lanes: the first page that ends, ends what is taken of all of them.
fn page_of_each(lanes: usize) -> i64 {
    i64::try_from(PAGE / lanes.max(1)).unwrap_or(1).max(1)
}

/// Rows by stamp, as far as it is certain that no other comes before them.
fn merged(
    mut pages: BTreeMap<Lane, VecDeque<LeavingRow>>,
    heads: &BTreeMap<Lane, i64>,
) -> Vec<(Lane, LeavingRow)> {
    let mut rows = Vec::new();
    loop {
        let first =
            pages.iter().filter_map(|(&lane, page)| Some((page.front()?.recorded_at, lane)));
        let Some((_, lane)) = first.min() else { return rows };
        let Some(row) = pages.get_mut(&lane).and_then(VecDeque::pop_front) else { return rows };
        let number = row.number;
        rows.push((lane, row));
        let is_empty = pages.get(&lane).is_some_and(VecDeque::is_empty);
        if is_empty && heads.get(&lane).is_some_and(|head| number < *head) {
            return rows;
        }
    }
}

async fn open(opened: &Opened, rows: Vec<(Lane, LeavingRow)>) -> Result<Vec<Step>, Unread> {
    let mut users: Vec<UserNumber> =
        rows.iter().filter_map(|(_, row)| Some(row.message.as_ref()?.user)).collect();
    users.sort_unstable();
    users.dedup();
    let keys = opened.keys.keys_of(&users).await?;
    let keys: BTreeMap<UserNumber, Option<DataKey>> = users.into_iter().zip(keys).collect();
    let mut steps = Vec::with_capacity(rows.len());
    for (lane, LeavingRow { number, message, .. }) in rows {
        let left = match message {
            None => Left::Nothing,
            Some(LeavingMessage { user, user_id, n, body }) => {
                let place = outbox_place(user, n);
                match keys.get(&user).and_then(Option::as_ref) {
                    Some(key) => {
                        let text = opened.restorer.open(user, key, place, &body).await?;
                        left(
                            user_id,
                            n,
                            text,
                            &format!("row {number} of the outbox of lane {lane}"),
                        )
                    }
                    None => Left::Nothing,
                }
            }
        };
        steps.push(Step { lane, number, left });
    }
    Ok(steps)
}

/// What a message comes to that was opened, or was not.
fn left(user_id: String, n: i64, opened: Result<Phi<Vec<u8>>, Unopened>, row: &str) -> Left {
    let text = match opened {
        Ok(bytes) => text_of_opened(bytes).ok_or_else(|| "it is no text".to_owned()),
        // Of before the user was erased and let in again.
        Err(Unopened::OtherKey(_)) => return Left::Nothing,
        Err(error) => Err(error.to_string()),
    };
    match text {
        Ok(text) => Left::Message(Message { user_id, n, text }),
        Err(problem) => Left::Broken { user_id, n, problem: format!("{row}: {problem}") },
    }
}

#[cfg(test)]
mod tests {
    use neuros::time::Timestamp;

    use super::*;

    #[test]
    fn lanes_take_turns_by_time_and_a_page_that_ends_too_soon_ends_it() {
        let page = |rows: &[(i64, i64)]| {
            let row = |&(number, time)| LeavingRow {
                number,
                recorded_at: Timestamp::from_micros(time),
                message: None,
            };
            rows.iter().map(row).collect::<VecDeque<_>>()
        };
        let pages = || {
            BTreeMap::from([
                (Lane(0), page(&[(1, 10), (2, 40)])),
                (Lane(1), page(&[(8, 20), (9, 30), (10, 50)])),
            ])
        };
        let order = |heads: [i64; 2]| {
            let heads = BTreeMap::from([(Lane(0), heads[0]), (Lane(1), heads[1])]);
            let rows = merged(pages(), &heads);
            rows.into_iter().map(|(lane, row)| (lane.0, row.number)).collect::<Vec<_>>()
        };
        assert_eq!(order([2, 10]), [(0, 1), (1, 8), (1, 9), (0, 2), (1, 10)]);
        assert_eq!(order([3, 10]), [(0, 1), (1, 8), (1, 9), (0, 2)], "its third may come next");
    }

    #[test]
    fn only_what_nobody_has_a_key_for_is_passed_over() {
        let of = |opened| left("ada".to_owned(), 7, opened, "row 3");
        let message = of(Ok(Phi::new(b"{}".to_vec())));
        assert!(matches!(message, Left::Message(Message { n: 7, .. })));
        assert!(matches!(of(Err(Unopened::OtherKey(1))), Left::Nothing));
        for spoilt in [
            Ok(Phi::new(vec![0xff])),
            Err(Unopened::Damaged),
            Err(Unopened::UnknownVersion(9)),
            Err(Unopened::UnknownAlgorithm(9)),
            Err(Unopened::NotAuthentic),
        ] {
            let Left::Broken { user_id, n, problem } = of(spoilt) else { panic!("not told") };
            assert_eq!((user_id.as_str(), n), ("ada", 7));
            assert!(problem.starts_with("row 3: ") && !problem.contains("ada"), "{problem}");
        }
    }

    #[test]
    fn lanes_share_a_page_and_only_those_that_are_behind_do() {
        let heads = BTreeMap::from([(Lane(0), 7), (Lane(1), 0), (Lane(2), 9)]);
        let at = |heads: [i64; 3]| Cursor::at((0..).map(Lane).zip(heads).collect());
        assert_eq!(behind(&at([7, 0, 4]), &heads).ok(), Some(vec![(Lane(2), 4, 9)]));
        assert_eq!(behind(&at([7, 0, 9]), &heads).ok(), Some(Vec::new()));
        assert!(matches!(behind(&at([8, 0, 4]), &heads), Err(Missing::Gone)));
        assert_eq!([0, 1, 3, 500, 10_000].map(page_of_each), [500, 500, 166, 1, 1]);
    }
}
