//! A plan: everything that will be done to the lanes, and when, from one seed. It does nothing itself.

use actors::home::home;
use actors::lane::{Lane, Source};
use actors::rows::Sink;
use serde::{Deserialize, Serialize};

use super::kept::{LaneText, SinkText, SourceText};
use super::produce::{Producer, USER, forged};
use crate::world::chance::Chance;
use crate::world::store::{Fault, Part};

/// A message for a partition, with headers that a producer or a forger has added.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Sending {
    #[serde(with = "LaneText")]
    pub lane: Lane,
    #[serde(with = "SourceText")]
    pub source: Source,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, String)>,
    /// The log has no time for it.
    pub is_timeless: bool,
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.value.as_deref().unwrap_or("nothing");
        let shown: String = value.chars().take(110).collect();
        write!(f, "{:?} {}: {shown} {:?}", self.source, self.lane, self.headers)
    }
}

/// Something that is done to the lanes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Action {
    Send(Box<Sending>),
    Assign {
        #[serde(with = "LaneText")]
        lane: Lane,
        slot: usize,
        after: u64,
    },
    Die {
        slot: usize,
        back_after: u64,
        landing: usize,
    },
    Freeze {
        slot: usize,
        time: u64,
        notice: u64,
        landing: usize,
    },
    Commit {
        #[serde(with = "LaneText")]
        lane: Lane,
        fault: Fault,
    },
    LoseClaim,
    StoreAway {
        part: Part,
        time: u64,
    },
    LogAway {
        time: u64,
    },
    SinkDown {
        #[serde(with = "SinkText")]
        sink: Sink,
    },
    SinkBack {
        #[serde(with = "SinkText")]
        sink: Sink,
    },
    PublishFails {
        #[serde(with = "SinkText")]
        sink: Sink,
        after: usize,
    },
    DeliveryFails {
        slot: usize,
        landing: usize,
    },
    KeysAway {
        slot: usize,
        time: u64,
    },
    DeleteCheckpoints,
    DamageCheckpoints,
    ClockJump {
        slot: usize,
        micros: i64,
    },
    /// From now on nothing panics: a better release is rolled out.
    Mend,
    /// An operator asks for the release of a user, or of everybody in quarantine.
    Release {
        user: String,
    },
    ReleaseAll,
    /// An operator has a user's state made anew.
    Rebuild {
        user: String,
    },
    /// Somebody does something about a user's newest alert.
    Alert {
        user: String,
        what: u64,
    },
    /// An operator has all dead letters tried once more, where their users live.
    Redrive,
    /// An operator gives some of them up.
    Discard,
    /// An operator erases a user.
    Erase {
        user: String,
    },
    /// An operator lets an erased user in again.
    Readmit {
        user: String,
    },
    /// An operator rotates the key of a user, or the service's own.
    Rotate {
        user: Option<String>,
    },
    /// An operator adds partitions.
    Expand {
        lanes: i32,
    },
    /// The topic of events is made anew, and an operator adopts it.
    Adopt,
}

/// What the processes of a plan are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setting {
    pub seed: u64,
    pub lanes: i32,
    /// When an operator adds partitions, ms, and how many there are then.
    pub growth: Option<(u64, i32)>,
    /// When the topic of events is made anew, ms.
    pub adoption: Option<u64>,
    pub slots: usize,
    pub users: Vec<String>,
    pub records_max: usize,
    pub bytes_max: usize,
    pub in_flight_max: usize,
    pub linger: u64,
    pub checkpoint_records: u32,
    pub checkpoint_every: u64,
    pub live_max: usize,
    pub idle_after: u64,
    pub drain: u64,
    pub latency_max: u64,
}

#[derive(Clone)]
pub(super) struct Plan {
    pub setting: Setting,
    /// By millisecond.
    pub actions: Vec<(u64, Action)>,
}

/// How long things are done, ms.
const TIME: u64 = 18_000;

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let chance = Chance::of(seed);
        let lanes = i32::try_from(chance.between(2, 4)).unwrap();
        let count = chance.between(1, 12);
        let setting = Setting {
            seed,
            lanes,
            growth: growth(seed, lanes),
            adoption: adoption(seed),
            slots: usize::try_from(chance.between(2, 3)).unwrap(),
            users: (0..count).map(|number| format!("{USER}{number}")).collect(),
            records_max: chance.of_these(&[1, 3, 8, 24]),
            bytes_max: chance.of_these(&[300, 2_000, 8 << 20]),
            in_flight_max: chance.of_these(&[1, 2, 3, 3]),
            linger: chance.of_these(&[0, 0, 5, 40]),
            checkpoint_records: chance.of_these(&[1, 3, 6, 20]),
            checkpoint_every: chance.of_these(&[200, 1_000, 4_000]),
            live_max: chance.of_these(&[1, 2, 4, 100]),
            idle_after: chance.of_these(&[500, 3_000, 60_000]),
            drain: chance.of_these(&[0, 100, 1_000]),
            latency_max: chance.of_these(&[1, 4, 20, 50]),
        };
        let mut actions = Vec::new();
        add_records(&chance, &setting, &mut actions);
        add_forgeries(&chance, &setting, &mut actions);
        add_faults(&chance, &setting, &mut actions);
        add_rotations(&setting, &mut actions);
        add_erasures(&setting, &mut actions);
        actions.extend(setting.growth.map(|(at, lanes)| (at, Action::Expand { lanes })));
        actions.extend(setting.adoption.map(|at| (at, Action::Adopt)));
        add_orders(seed, &setting, &mut actions);
        // The order of those at one time is that in which they were made.
        actions.sort_by_key(|(at, _)| *at);
        Self { setting, actions }
    }
}

/// A third of the plans have more partitions in the end. By a chance of its own: the others are what they
/// would be without.
fn growth(seed: u64, lanes: i32) -> Option<(u64, i32)> {
    let chance = Chance::of(seed ^ 0x40);
    let more = i32::try_from(chance.between(1, 2)).unwrap();
    chance.one_in(3).then(|| (chance.between(500, TIME / 2), lanes + more))
}

/// In a quarter of the others the topic of events is made anew.
fn adoption(seed: u64) -> Option<u64> {
    let chance = Chance::of(seed ^ 0x50);
    let at = chance.between(500, TIME - 2_000);
    (chance.one_in(4) && growth(seed, 1).is_none()).then_some(at)
}

/// In half of the plans keys are rotated, now and then twice.
fn add_rotations(setting: &Setting, actions: &mut Actions) {
    let chance = Chance::of(setting.seed ^ 0x60);
    if chance.one_in(2) {
        return;
    }
    let mut users: Vec<Option<String>> = setting.users.iter().take(3).cloned().map(Some).collect();
    users.push(None);
    for _ in 0..chance.between(1, 6) {
        let user = users[usize::try_from(chance.below(users.len() as u64)).unwrap()].clone();
        actions.push((chance.below(TIME), Action::Rotate { user }));
    }
}

/// In a third of the plans somebody is erased, and perhaps let in again, and erased once more; somebody else
/// before anything of theirs has come.
fn add_erasures(setting: &Setting, actions: &mut Actions) {
    let chance = Chance::of(setting.seed ^ 0x70);
    if !chance.one_in(3) {
        return;
    }
    for user in setting.users.iter().take(2) {
        let mut at = chance.below(TIME / 2);
        while at < TIME {
            actions.push((at, Action::Erase { user: user.clone() }));
            at += chance.between(500, TIME);
            if at < TIME {
                actions.push((at, Action::Readmit { user: user.clone() }));
            }
            at += chance.between(500, TIME);
        }
    }
    if let Some(stranger) = setting.users.get(2) {
        actions.push((0, Action::Erase { user: stranger.clone() }));
        if chance.one_in(2) {
            let at = chance.between(500, TIME);
            actions.push((at, Action::Readmit { user: stranger.clone() }));
        }
    }
}

type Actions = Vec<(u64, Action)>;

fn add_records(chance: &Chance, setting: &Setting, actions: &mut Actions) {
    let mut producer = Producer::new(chance, setting);
    let count = chance.between(60, 260);
    let mut at = 0;
    for _ in 0..count {
        // Bursts, and pauses between them.
        if chance.one_in(12) {
            at += chance.below(1_200);
        }
        at += chance.below(40);
        let sending = producer.next(at);
        actions.push((at.min(TIME), Action::Send(Box::new(sending))));
    }
}

fn add_forgeries(chance: &Chance, setting: &Setting, actions: &mut Actions) {
    for _ in 0..chance.below(6) {
        let lane = Lane(i32::try_from(chance.below(setting.lanes.unsigned_abs().into())).unwrap());
        let strangers: Vec<&String> =
            setting.users.iter().filter(|user| home(user, setting.lanes) != lane).collect();
        let sending = forged(chance, lane, strangers.first().map(|user| user.as_str()));
        actions.push((chance.below(TIME), Action::Send(Box::new(sending))));
    }
}

/// What is done about alerts, by a chance of its own.
fn add_orders(seed: u64, setting: &Setting, actions: &mut Actions) {
    let chance = Chance::of(seed ^ 0x60);
    for _ in 0..chance.below(12) {
        let user = usize::try_from(chance.below(setting.users.len() as u64)).unwrap();
        let user = setting.users[user].clone();
        actions.push((chance.below(TIME), Action::Alert { user, what: chance.below(4) }));
    }
}

fn add_faults(chance: &Chance, setting: &Setting, actions: &mut Actions) {
    // A calm plan now and then shows what the rest would hide.
    let count = chance.of_these(&[0, 4, 10, 25, 40]);
    for _ in 0..count {
        let at = chance.below(TIME);
        let fault = fault(chance, setting);
        if let Action::SinkDown { sink } = fault {
            actions.push((at + chance.between(100, 4_000), Action::SinkBack { sink }));
        }
        actions.push((at, fault));
    }
    // In the end, now and then, a better release lets everybody out.
    if chance.one_in(2) {
        for slot in 0..setting.slots {
            actions.push((TIME - 2_000, Action::Die { slot, back_after: 50, landing: 0 }));
        }
        actions.extend([(TIME - 2_000, Action::Mend), (TIME - 500, Action::ReleaseAll)]);
    }
    // Whatever one process has refused the next may take.
    if chance.one_in(2) {
        actions.push((TIME - 500, Action::Redrive));
    }
}

fn fault(chance: &Chance, setting: &Setting) -> Action {
    let lane = Lane(i32::try_from(chance.below(setting.lanes.unsigned_abs().into())).unwrap());
    let slot = usize::try_from(chance.below(setting.slots as u64)).unwrap();
    let landing = usize::try_from(chance.below(4)).unwrap();
    let sink = chance.of_these(&Sink::ALL);
    let user = setting.users.get(slot * 3).unwrap_or(&setting.users[0]).clone();
    match chance.below(57) {
        0..=6 => Action::Assign { lane, slot, after: chance.below(1_500) },
        7..=9 => Action::Die { slot, back_after: chance.between(50, 3_000), landing },
        10..=13 => {
            let time = chance.of_these(&[200, 1_500, 6_000]);
            Action::Freeze { slot, time, notice: chance.below(1_500), landing }
        }
        14..=24 => Action::Commit { lane, fault: commit_fault(chance) },
        25..=26 => Action::LoseClaim,
        27..=30 => {
            let parts = [Part::Commits, Part::Claims, Part::Reads, Part::Cursors];
            Action::StoreAway { part: chance.of_these(&parts), time: chance.between(50, 2_500) }
        }
        31 => Action::LogAway { time: chance.between(50, 2_000) },
        32..=33 => Action::SinkDown { sink },
        34..=35 => Action::PublishFails { sink, after: landing },
        36 | 41 | 42 => Action::DeliveryFails { slot, landing: landing + 1 },
        37 => Action::KeysAway { slot, time: chance.between(50, 1_500) },
        38 => Action::DeleteCheckpoints,
        43 => Action::Mend,
        44 => Action::Release { user },
        45..=48 => Action::ReleaseAll,
        49 => Action::Rebuild { user },
        50..=54 => Action::Redrive,
        55 | 56 => Action::Discard,
        39 => Action::DamageCheckpoints,
        _ => {
            let seconds = i64::try_from(chance.below(7_200)).unwrap() - 3_600;
            Action::ClockJump { slot, micros: seconds * 1_000_000 }
        }
    }
}

fn commit_fault(chance: &Chance) -> Fault {
    match chance.below(7) {
        0 => Fault::Away,
        1 => Fault::Ghost,
        2 => Fault::Lost,
        3 | 4 => Fault::Stall(chance.of_these(&[50, 700, 5_000, 20_000])),
        _ => Fault::Late(chance.of_these(&[50, 700, 2_000, 20_000]), !chance.one_in(3)),
    }
}
