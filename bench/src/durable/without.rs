//! What single parts cost: the lanes without a store beside a consumer that does nothing, and the lanes that
//! seal and audit beside lanes that do not.

use super::inside::{Inside, drain};
use super::middle;
use super::service::Place;
use super::setup::{Setup, say};
use crate::table::{Goal, Table};

/// In turn, and each goes first as often as the other, so that whatever else the machine does falls on both; the
/// middle ones count.
const REPEATS: usize = 4;

/// Events of a drain, at most: enough for some seconds of each.
const EVENTS_MAX: u64 = 1_500_000;

/// `place` has at least so many events.
pub(super) fn run(
    setup: &Setup,
    place: &Place,
    events: u64,
    table: &mut Table,
) -> anyhow::Result<()> {
    let events = events.min(EVENTS_MAX);
    say("without a store")?;
    let [consumer, unstored] = in_turn(setup, place, [Inside::Consumer, Inside::Unstored], events)?;
    table.put("consumer that drops all it reads", consumer, "events/s");
    table.put("lanes without a store", unstored, "events/s");
    let goal = Goal::at_least(0.45, 0.70);
    table.judge("lanes without a store / bare consumer", unstored / consumer, "", goal);
    say("without sealing")?;
    let [sealed, open] = in_turn(setup, place, [Inside::Sealed, Inside::Open], events / 2)?;
    table.put("lanes that seal and audit", sealed, "events/s");
    table.put("lanes that do not", open, "events/s");
    let goal = Goal::at_least(0.85, 0.95);
    table.judge("sealing and audit on / off", sealed / open, "", goal);
    Ok(())
}

/// The middle rate of each.
fn in_turn<const N: usize>(
    setup: &Setup,
    place: &Place,
    all: [Inside; N],
    events: u64,
) -> anyhow::Result<[f64; N]> {
    let mut rates = all.map(|_| Vec::new());
    let mut order: Vec<usize> = (0..N).collect();
    for _ in 0..REPEATS {
        for &which in &order {
            rates[which].push(drain(setup, place, all[which], events)?.rate);
        }
        order.reverse();
    }
    Ok(rates.map(middle))
}
