//! The group: decides which process has which lane, changes its mind, and finds out late who is gone. What a
//! process believes to own may differ from what the group has decided.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::lane::Lane;
use tokio::time::Instant;

use super::process::{Ground, Process};
use crate::world::chance::Chance;
use crate::world::witness::{Happening, Witness as _};

/// How long a process may be silent before its lanes are given away.
const SESSION: Duration = Duration::from_millis(800);

/// A place for a process: one may follow another there.
struct Slot {
    process: Option<Process>,
    /// When the next process starts.
    back_at: Option<Instant>,
    silent_since: Option<Instant>,
    thaw_at: Option<Instant>,
    /// Until then a process that stood still does not know what was decided meanwhile.
    ignorant_until: Option<Instant>,
    notice: Duration,
}

struct Decision {
    slot: usize,
    /// When that process is told.
    from: Instant,
}

pub(super) struct Group {
    pub ground: Ground,
    slots: Vec<Slot>,
    decisions: BTreeMap<Lane, Decision>,
    started: usize,
    chance: Chance,
}

impl Group {
    pub(super) fn new(ground: Ground, slots: usize, lanes: i32, seed: u64) -> Self {
        let slot = |_| Slot {
            process: None,
            back_at: Some(ground.began),
            silent_since: None,
            thaw_at: None,
            ignorant_until: None,
            notice: Duration::ZERO,
        };
        let slots: Vec<Slot> = (0..slots).map(slot).collect();
        let decisions = (0..lanes).map(|lane| {
            let slot = usize::try_from(lane).unwrap() % slots.len();
            (Lane(lane), Decision { slot, from: ground.began })
        });
        let decisions = decisions.collect();
        Self { ground, slots, decisions, started: 0, chance: Chance::of(seed) }
    }

    fn happened(&self, what: Happening, slot: usize) {
        let number = self.slots[slot].process.as_ref().map_or(0, |process| process.number);
        self.ground.auditor.happened(what, format!("process {number}"));
    }

    /// The process in a slot, if it lives.
    pub(super) fn process(&mut self, slot: usize) -> Option<&mut Process> {
        self.slots[slot].process.as_mut()
    }

    /// Gives a lane to the process in a slot, which is told after a while.
    pub(super) fn assign(&mut self, lane: Lane, slot: usize, after: Duration) {
        let decision = Decision { slot, from: Instant::now() + after };
        let before = self.decisions.insert(lane, decision);
        if before.is_some_and(|before| before.slot != slot) {
            self.happened(Happening::Assigned, slot);
        }
    }

    /// Sets the clock of the process in a slot.
    pub(super) fn set_clock(&mut self, slot: usize, micros: i64) {
        if let Some(process) = &self.slots[slot].process {
            process.set_clock(micros);
            self.happened(
                if micros < 0 { Happening::ClockSetBack } else { Happening::ClockSetForward },
                slot,
            );
        }
    }

    /// Ends the process in a slot, whatever it is at.
    pub(super) fn kill(&mut self, slot: usize, back_after: Duration, landing: usize) {
        if self.slots[slot].process.is_some() {
            self.happened(Happening::Killed, slot);
        }
        self.die(slot, back_after, landing);
    }

    /// There are more partitions, which the group finds out about after a while.
    pub(super) fn grow(&mut self, lanes: i32) {
        for lane in (0..lanes).map(Lane) {
            let slot = usize::try_from(self.chance.below(self.slots.len() as u64)).unwrap();
            let from = Instant::now() + Duration::from_millis(self.chance.below(1_000));
            self.decisions.entry(lane).or_insert(Decision { slot, from });
        }
    }

    fn die(&mut self, slot: usize, back_after: Duration, landing: usize) {
        if self.slots[slot].process.is_none() {
            return;
        }
        self.happened(Happening::Died, slot);
        let place = &mut self.slots[slot];
        if let Some(mut process) = place.process.take() {
            process.die(landing);
            self.ground.store.disconnect(process.number);
        }
        (place.silent_since, place.back_at) =
            (Some(Instant::now()), Some(Instant::now() + back_after));
        (place.thaw_at, place.ignorant_until) = (None, None);
    }

    pub(super) fn freeze(&mut self, slot: usize, time: Duration, notice: Duration, landing: usize) {
        let place = &mut self.slots[slot];
        let Some(process) = place.process.as_ref().filter(|process| !process.is_frozen()) else {
            return;
        };
        process.freeze(landing);
        self.ground.store.freeze(process.number, true);
        place.thaw_at = Some(Instant::now() + time);
        place.silent_since = Some(Instant::now());
        place.notice = notice;
        self.happened(Happening::Froze, slot);
    }

    fn thaw(&mut self, slot: usize) {
        let place = &mut self.slots[slot];
        let Some(process) = place.process.as_ref() else { return };
        process.thaw();
        self.ground.store.freeze(process.number, false);
        place.thaw_at = None;
        place.silent_since = None;
        place.ignorant_until = Some(Instant::now() + place.notice);
        self.happened(Happening::Thawed, slot);
    }

    /// Everybody lives and hears.
    pub(super) fn heal(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].thaw_at.is_some() {
                self.thaw(slot);
            }
            if let Some(process) = self.slots[slot].process.as_ref() {
                process.set_clock(0);
                process.lose_keys(Duration::ZERO);
            }
            self.slots[slot].back_at = self.slots[slot].back_at.map(|_| Instant::now());
        }
    }

    /// What happens by itself as time goes on.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        for slot in 0..self.slots.len() {
            if self.slots[slot].thaw_at.is_some_and(|at| at <= now) {
                self.thaw(slot);
            }
            let process = self.slots[slot].process.as_mut();
            if process.is_some_and(Process::must_end) {
                self.die(slot, Duration::from_millis(300), 0);
            }
            let process = self.slots[slot].process.as_ref();
            if process.is_some_and(Process::has_failed) {
                let problem = "a lane's owner has ended by a fault of the program";
                self.ground.auditor.violated(problem.to_owned());
            }
            if self.slots[slot].back_at.is_some_and(|at| at <= now) {
                self.started += 1;
                let process = Process::start(&self.ground, self.started);
                self.slots[slot].process = Some(process);
                (self.slots[slot].back_at, self.slots[slot].silent_since) = (None, None);
            }
        }
        self.give_away(now);
        self.tell(now);
    }

    /// The lanes of those who have been silent for too long go to somebody else.
    fn give_away(&mut self, now: Instant) {
        let silent = |slot: &Slot| slot.silent_since.is_some_and(|since| now - since >= SESSION);
        let awake: Vec<usize> =
            (0..self.slots.len()).filter(|slot| self.slots[*slot].silent_since.is_none()).collect();
        if awake.is_empty() {
            return;
        }
        for decision in self.decisions.values_mut() {
            if silent(&self.slots[decision.slot]) {
                *decision = Decision { slot: self.chance.of_these(&awake), from: now };
            }
        }
    }

    /// Processes that listen are told.
    fn tell(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let place = &mut self.slots[slot];
            if place.ignorant_until.is_some_and(|until| now < until) {
                continue;
            }
            let Some(process) = place.process.as_mut().filter(|process| !process.is_frozen())
            else {
                continue;
            };
            let mut told = Vec::new();
            for lane in process.lanes() {
                if self.decisions[&lane].slot != slot {
                    process.revoked(lane);
                    told.push(Happening::Revoked);
                }
            }
            for (lane, decision) in &self.decisions {
                if decision.slot == slot && decision.from <= now && !process.owns(*lane) {
                    process.assigned(*lane);
                    told.push(Happening::Handover);
                }
            }
            for what in told {
                self.happened(what, slot);
            }
        }
    }

    /// Everybody leaves in good order.
    pub(super) fn leave(&mut self) {
        for process in self.slots.iter_mut().filter_map(|slot| slot.process.as_mut()) {
            for lane in process.lanes() {
                process.revoked(lane);
            }
        }
    }
}
