//! What operators ask of lanes: of each the lane where it must be done, as the commands of the program find it.
//! It waits for no answer.

use std::collections::BTreeMap;

use actors::command::{Letters, Order};
use actors::dead_letter::{self, Letter};
use actors::home::home;
use actors::intake;
use actors::lane::{Lane, UserNumber};
use actors::places::alert_place;
use neuros::alert::{self, Quiet};

use super::process::{Ground, wire_of};
use crate::world::store::tables::Change;
use crate::world::witness::{Happening, Witness as _};
use crate::world::{opened, opened_by_service};

fn ask(ground: &Ground, lane: Lane, order: &Order) {
    let what = match order {
        Order::Release { .. } => Happening::AskedForRelease,
        Order::Rebuild { .. } => Happening::AskedForRebuild,
        Order::Alert { .. } => Happening::AskedForAlert,
        Order::Tick { .. } => unreachable!("the lanes ask this of themselves"),
        Order::Redrive(_) => Happening::AskedForRedrive,
        Order::Discard(_) => Happening::AskedForDiscard,
        Order::Rekey { .. } => Happening::KeyRotated,
        Order::Erase { .. } => Happening::AskedForErasure,
        Order::Readmit { .. } => Happening::AskedForReadmission,
    };
    ground.auditor.happened(what, format!("lane {lane}"));
    let id = ground.store.look(|tables| tables.commands.len() + 1);
    ground.store.command(lane, i64::try_from(id).unwrap(), order);
}

fn home_of(ground: &Ground, user_id: &str) -> Lane {
    home(user_id, ground.store.routing().partition_count)
}

pub(super) fn release(ground: &Ground, user: &str) {
    ask(ground, home_of(ground, user), &Order::Release { user_id: user.to_owned() });
}

pub(super) fn release_all(ground: &Ground) {
    let quarantined: Vec<String> = ground.store.look(|tables| {
        let quarantined = tables.users.values().filter(|user| user.quarantined);
        quarantined.map(|user| user.user_id.clone()).collect()
    });
    for user_id in quarantined {
        release(ground, &user_id);
    }
}

pub(super) fn rebuild(ground: &Ground, user: &str) {
    ask(ground, home_of(ground, user), &Order::Rebuild { user_id: user.to_owned() });
}

/// Somebody does something about a user's newest alert, which may be over.
pub(super) fn alert(ground: &Ground, user: &str, what: u64) {
    let said: Vec<serde_json::Value> = ground.store.look(|tables| {
        let Some(number) = tables.ids.get(user) else { return Vec::new() };
        let rows = tables.alerts.range((*number, 0)..=(*number, i64::MAX));
        let open = |((_, n), row): (&(UserNumber, i64), &Change)| {
            let body = opened(*number, alert_place(*number, *n), &row.body);
            serde_json::from_slice(&body).unwrap()
        };
        rows.map(open).collect()
    });
    let Some(newest) = said.last() else { return };
    let first = said.iter().find(|change| change["id"] == newest["id"]).unwrap();
    let (episode, by) = (first["n"].as_i64().unwrap(), "somebody".to_owned());
    let order = match what {
        0 => alert::Order::Acknowledge { episode, by },
        1 => alert::Order::Snooze { episode, until: i64::MAX / 2, by },
        2 => alert::Order::Resolve { episode, by },
        _ => alert::Order::Quiet(Quiet::new("Asia/Kathmandu", 0, 23 * 60).ok()),
    };
    let user_id = user.to_owned();
    ask(ground, home_of(ground, user), &Order::Alert { user_id, order });
}

pub(super) fn erase(ground: &Ground, user: &str) {
    ask(ground, home_of(ground, user), &Order::Erase { user_id: user.to_owned() });
}

pub(super) fn readmit(ground: &Ground, user: &str) {
    ask(ground, home_of(ground, user), &Order::Readmit { user_id: user.to_owned() });
}

/// A user's next key, or the service's, is made, and whoever is in memory told to take it.
pub(super) fn rotate(ground: &Ground, user: Option<&str>) {
    let Some(user_id) = user else {
        ground.keys.rotate(UserNumber(0));
        for lane in 0..ground.store.routing().partition_count {
            ask(ground, Lane(lane), &Order::Rekey { user_id: None });
        }
        return;
    };
    let number = ground.store.look(|tables| tables.ids.get(user_id).copied());
    let Some(number) = number else { return };
    ground.keys.rotate(number);
    ask(ground, home_of(ground, user_id), &Order::Rekey { user_id: Some(user_id.to_owned()) });
}

/// All dead letters are tried once more.
pub(super) fn redrive(ground: &Ground) {
    for (lane, letters) in by_home(ground, 1) {
        ask(ground, lane, &Order::Redrive(Letters::of(letters)));
    }
}

/// Every third is given up.
pub(super) fn discard(ground: &Ground) {
    for (lane, letters) in by_home(ground, 3) {
        let order = Order::Discard(Letters::of(letters));
        if let Order::Discard(Letters { names, .. }) = &order {
            ground.auditor.given_up(names.iter().copied());
        }
        ask(ground, lane, &order);
    }
}

/// One in so many of the letters that are on the list, by the lane where their user lives by now.
fn by_home(ground: &Ground, one_in: i64) -> BTreeMap<Lane, Vec<Letter>> {
    let mut by_home: BTreeMap<Lane, Vec<Letter>> = BTreeMap::new();
    let wire = wire_of(1);
    for letter in ground.store.letters_left() {
        if letter.number % one_in != 0 {
            continue;
        }
        let (body, time) = ground.store.look(|tables| {
            let row = &tables.letters[&(letter.lane, letter.number)];
            (opened_by_service(dead_letter::place(letter), &row.body), row.said.record_time)
        });
        let raw = dead_letter::of_bytes(&body).unwrap();
        let user_id = intake::user_of(&raw, time, &wire);
        let lane = user_id.map_or(letter.lane, |user_id| home_of(ground, &user_id));
        by_home.entry(lane).or_default().push(letter);
    }
    by_home
}
