//! What must leave and what has left: nothing before its commit, everything at last, per user in order.

use std::collections::BTreeMap;

use actors::lane::{Lane, Source, UserNumber};
use actors::log::Outgoing;
use actors::rows::Sink;

use super::people::People;
use crate::world::store::tables::Written;

/// Something that must leave: whose it is, and its number there.
struct Due {
    lane: Lane,
    number: i64,
    is_published: bool,
    /// The user was erased: it may leave, and need not.
    is_excused: bool,
}

impl Due {
    fn must_leave(&self) -> bool {
        !self.is_published && !self.is_excused
    }
}

/// Who takes a message, and whose it is: a user's id, or the lane that a dead letter came from.
type Name = (Sink, String);

/// Its number there: a message number, or a source with an offset.
type Order = (i64, i64);

#[derive(Default)]
pub(super) struct Departures {
    due: BTreeMap<Name, BTreeMap<Order, Due>>,
    /// Rows by lane and number: the topic, whose they are, and their numbers there.
    rows: BTreeMap<(Lane, i64), (Sink, String, Order)>,
}

/// What became of a message.
pub(super) enum Departure {
    First,
    Again,
}

impl Departures {
    /// Takes a batch's outbox; I9: it is its mode changes, alerts and dead letters, numbered on.
    pub(super) fn take(&mut self, written: &Written, people: &People) -> Result<(), String> {
        let (transitions, alerts) = (written.transitions.len(), written.alerts.len());
        if written.outbox.len() != transitions + alerts + written.letters.len() {
            return Err("I9: the outbox is not what it stands for".to_owned());
        }
        for (number, (place, row)) in (written.before.outbox + 1..).zip(&written.outbox) {
            if number != *place {
                return Err(format!("I9: outbox row {place} where {number} is due"));
            }
            let (name, order) = match (row.user, row.n) {
                (Some(user), Some(n)) => (name_of(people, user)?, (0, n)),
                _ => {
                    let letter = written.letters.get(place);
                    let said = &letter.ok_or("I9: a row without its dead letter")?.said;
                    let source = i64::from(said.source.number());
                    (written.lane.to_string(), (source, said.offset))
                }
            };
            let lane = written.lane;
            for sink in Sink::ALL.into_iter().filter(|sink| sink.takes(row.sink)) {
                let due = Due { lane, number, is_published: false, is_excused: false };
                let own = self.due.entry((sink, name.clone())).or_default();
                if own.insert(order, due).is_some() {
                    return Err(format!("I9: {order:?} twice in the outbox"));
                }
            }
            self.rows.insert((lane, number), (row.sink, name, order));
        }
        Ok(())
    }

    /// A message has reached a sink; I2: it is committed; I9: what goes before it went before it.
    pub(super) fn published(
        &mut self,
        sink: Sink,
        outgoing: &Outgoing,
    ) -> Result<Departure, String> {
        let (name, order) = name_of_message(sink, outgoing)?;
        let due = self.due.entry((sink, name.clone())).or_default();
        let Some(own) = due.get_mut(&order) else {
            return Err(format!("I2: {sink:?} {name} {order:?} left before its commit"));
        };
        if std::mem::replace(&mut own.is_published, true) {
            return Ok(Departure::Again);
        }
        let own = own.number;
        let skipped = due.values().find(|other| other.number < own && other.must_leave());
        match skipped {
            Some(skipped) => {
                Err(format!("I9: {sink:?} {name}: row {} was passed over", skipped.number))
            }
            None => Ok(Departure::First),
        }
    }

    /// A cursor moves only behind what is safe.
    pub(super) fn moved(&self, lane: Lane, sink: Sink, to: i64) -> Result<(), String> {
        for (topic, name, order) in self.rows.range((lane, 0)..=(lane, to)).map(|(_, row)| row) {
            if sink.takes(*topic) && self.due[&(sink, name.clone())][order].must_leave() {
                return Err(format!("I9: lane {lane}: the cursor of {sink:?} is at {to}, too far"));
            }
        }
        Ok(())
    }

    /// A user is erased: what has not left opens no more.
    pub(super) fn excuse(&mut self, user_id: &str) {
        let of_user = |(sink, name): &Name| *sink != Sink::DeadLetters && name == user_id;
        let theirs = self.due.iter_mut().filter(|(name, _)| of_user(name));
        theirs.flat_map(|(_, due)| due.values_mut()).for_each(|due| due.is_excused = true);
    }

    /// What has not left.
    pub(super) fn waiting(&self) -> Vec<String> {
        let rows = self.due.iter().flat_map(|((sink, name), due)| {
            due.values()
                .filter(|due| due.must_leave())
                .map(move |due| format!("{sink:?} {name} lane {} row {}", due.lane, due.number))
        });
        rows.collect()
    }
}

fn name_of(people: &People, user: UserNumber) -> Result<String, String> {
    let book = people.books.get(&user).ok_or("I9: a message of nobody")?;
    Ok(book.user_id.clone())
}

/// Whose a message is, and its number: as a consumer would find out.
fn name_of_message(sink: Sink, outgoing: &Outgoing) -> Result<(String, (i64, i64)), String> {
    if sink == Sink::DeadLetters {
        let header = |wanted: &str| {
            let mut headers = outgoing.headers.iter().rev();
            let value = headers.find(|(name, _)| name == wanted)?.1.as_deref()?;
            std::str::from_utf8(value).ok()
        };
        let found = header("dlq.partition").zip(header("dlq.offset")).zip(header("dlq.topic"));
        let ((lane, offset), topic) = found.ok_or("a dead letter that says nothing")?;
        let source = if topic == "events" { Source::Events } else { Source::ByUser };
        let offset = offset.parse::<i64>().map_err(|error| error.to_string())?;
        return Ok((lane.to_owned(), (i64::from(source.number()), offset)));
    }
    let value = outgoing.value.as_ref().map_or(&[][..], |value| value.expose());
    let message: serde_json::Value =
        serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let name = message["user_id"].as_str().ok_or("a message of nobody")?.to_owned();
    Ok((name, (0, message["n"].as_i64().unwrap_or_default())))
}
