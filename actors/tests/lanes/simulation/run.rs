//! Runs a plan: does what it says, heals the world, waits until all is done, and says what was wrong.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::defect::Defect;
use actors::lane::{Lane, PerSource, ROUTING_VERSION, Routing};
use actors::person::{Applied, Person};
use actors::ports::{BatchRules, BelowStart, CheckpointRules, Rules, UserRules};
use actors::rows::Sink;
use neuros::event::Record;
use neuros::{Outcome, Policy};
use tokio::time::Instant;

use super::asking;
use super::auditor::Auditor;
use super::fates::Judge;
use super::group::Group;
use super::leaks;
use super::operator::Operator;
use super::plan::{Action, Plan, Sending, Setting};
use super::process::{Ground, time_at, wire_of};
use super::produce::{BYTES_MAX, FORWARD_BYTES_MAX, POISON};
use super::reference::{Limits, Reference};
use crate::world::witness::{Happening, Witness as _};
use crate::world::{MemoryLog, MemoryStore, run};

/// What a run has come to.
pub(super) struct Report {
    pub violations: Vec<String>,
    /// Of the whole history.
    pub hash: u64,
    /// Its end.
    pub history: Vec<String>,
    pub tally: BTreeMap<String, u64>,
}

/// How often the group looks around.
const TICK: Duration = Duration::from_millis(50);

/// I10: when faults stop, everything is consumed within a session and half a minute.
const HEALED_WITHIN: Duration = Duration::from_secs(31);

/// Somebody is scrubbed so often.
const SCRUB_EVERY: Duration = Duration::from_millis(50);

/// Records after which a state is kept for good: few, so that whatever happens happens around bases too.
pub(super) const BASE_EVERY: u32 = 7;

/// What an injected panic says, so that it can be kept off the terminal.
pub(super) const TOLD_SO: &str = "the evaluation was told to panic";

thread_local! {
    /// The release of this plan panics no more.
    static IS_MENDED: Cell<bool> = const { Cell::new(false) };
    /// When this plan began.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn evaluate(
    person: &mut Person,
    policy: &Policy,
    record: &Record<'_>,
    outcomes: &mut Vec<Outcome>,
) -> Applied {
    assert!(record.event_type != POISON || IS_MENDED.get(), "{TOLD_SO}");
    if Defect::WallClockInTheEngine.is_on() {
        let mut late = record.clone();
        late.record_time = BEGAN.get().map_or(late.record_time, time_at);
        return person.apply(policy, &late, outcomes);
    }
    person.apply(policy, record, outcomes)
}

fn rules(setting: &Setting, routing: Routing) -> Rules {
    Rules {
        owner: String::new(),
        routing,
        wire: wire_of(1),
        policy: Arc::new(Policy::default()),
        policy_number: 1,
        evaluate,
        batch: BatchRules {
            records_max: setting.records_max,
            linger: Duration::from_millis(setting.linger),
            in_flight_max: setting.in_flight_max,
            bytes_max: setting.bytes_max,
            pipelined_from: setting.records_max / 2,
        },
        checkpoint: CheckpointRules {
            every_records: setting.checkpoint_records,
            every: Duration::from_millis(setting.checkpoint_every),
            base_every: BASE_EVERY,
            scrub_every: SCRUB_EVERY,
        },
        users: UserRules {
            live_max: setting.live_max,
            idle_after: Duration::from_millis(setting.idle_after),
        },
        quarantines_per_minute: 1_000,
        below_start: BelowStart::Stop,
        drain: Duration::from_millis(setting.drain),
        cache: true,
        sinks: Sink::ALL.to_vec(),
        topics: PerSource { events: "events".to_owned(), by_user: "by-user".to_owned() },
    }
}

fn ground(setting: &Setting) -> Ground {
    let routing = Routing {
        generation: 1,
        partition_count: setting.lanes,
        version: ROUTING_VERSION,
        bytes_max: i64::try_from(BYTES_MAX).unwrap(),
        log_id: None,
        expanding: false,
    };
    let auditor = Arc::new(Auditor::default());
    let seed = setting.seed;
    let log = Arc::new(MemoryLog::new(setting.lanes, seed ^ 0x10, Arc::clone(&auditor) as _));
    let store = MemoryStore::new(routing.clone(), seed ^ 0x20, Arc::clone(&auditor) as _);
    let store = Arc::new(store.ticking(seed));
    log.rough(setting.latency_max / 2);
    store.rough(setting.latency_max);
    let judge = Judge::new(routing.clone(), FORWARD_BYTES_MAX, Arc::clone(&log));
    let Setting { records_max, bytes_max, .. } = *setting;
    let limits = Limits { records_max, bytes_max, batches: 2 * setting.in_flight_max };
    auditor.begin(Reference::new(judge, limits));
    let rules = rules(setting, routing);
    Ground { began: Instant::now(), log, store, auditor, rules, keys: Arc::default() }
}

/// Runs a plan from its begin to its end.
pub(super) fn play(plan: &Plan) -> Report {
    run(|| async {
        let setting = &plan.setting;
        let ground = ground(setting);
        leaks::forget();
        IS_MENDED.set(false);
        BEGAN.set(Some(ground.began));
        let mut group = Group::new(ground, setting.slots, setting.lanes, setting.seed ^ 0x30);
        let mut operator = Operator::Idle;
        act(plan, &mut group, &mut operator).await;
        let mut unfinished = Vec::new();
        if !group.ground.auditor.has_violations() {
            unfinished = finish(&mut group, &mut operator).await;
        }
        let auditor = &group.ground.auditor;
        let (hash, history) = auditor.history();
        let mut violations = auditor.violations();
        violations.extend(leaks::found());
        violations.extend(unfinished);
        Report { violations, hash, history, tally: auditor.tally() }
    })
}

/// Lets time go on until `at`.
async fn pass(group: &mut Group, operator: &mut Operator, at: Instant) {
    loop {
        group.tick();
        operator.tick(&group.ground);
        if Instant::now() >= at || group.ground.auditor.has_violations() {
            return;
        }
        tokio::time::sleep_until((Instant::now() + TICK).min(at)).await;
    }
}

async fn act(plan: &Plan, group: &mut Group, operator: &mut Operator) {
    for (at, action) in &plan.actions {
        let at = group.ground.began + Duration::from_millis(*at);
        pass(group, operator, at).await;
        if group.ground.auditor.has_violations() {
            return;
        }
        if !matches!(action, Action::Send(_)) {
            group.ground.auditor.note(&format!("{action:?}"));
        }
        match action {
            Action::Expand { lanes } => *operator = Operator::begin(group, *lanes),
            Action::Adopt => *operator = Operator::adopt(&group.ground),
            _ => perform(action, group),
        }
    }
    // What was begun goes on for a while without new faults.
    let until = Instant::now() + Duration::from_millis(500);
    pass(group, operator, until).await;
}

fn send(ground: &Ground, sending: &Sending) {
    let bytes = |text: &String| text.clone().into_bytes();
    let raw = actors::incoming::Raw {
        key: sending.key.as_ref().map(bytes),
        value: sending.value.as_ref().map(bytes),
        headers: sending.headers.iter().map(|(n, v)| (n.clone(), Some(bytes(v)))).collect(),
    };
    let now = time_at(ground.began).as_micros() / 1_000;
    let time = neuros::time::Timestamp::from_millis(now);
    let time = (!sending.is_timeless).then_some(time);
    // A smaller plan may have fewer partitions.
    let lane = Lane(sending.lane.0 % ground.log.lanes());
    ground.log.append(lane, sending.source, time, raw);
}

/// Does what is to be done. What has met somebody is counted here, or where it meets them.
fn perform(action: &Action, group: &mut Group) {
    let millis = Duration::from_millis;
    let ground = &group.ground;
    let happened = |what| ground.auditor.happened(what, String::new());
    match action {
        Action::Send(sending) => send(ground, sending),
        Action::Assign { lane, slot, after } => group.assign(*lane, *slot, millis(*after)),
        Action::Die { slot, back_after, landing } => {
            group.kill(*slot, millis(*back_after), *landing);
        }
        Action::Freeze { slot, time, notice, landing } => {
            group.freeze(*slot, millis(*time), millis(*notice), *landing);
        }
        Action::Commit { lane, fault } => ground.store.fail_next_of(*lane, *fault),
        Action::LoseClaim => ground.store.lose_next_claim(),
        Action::StoreAway { part, time } => ground.store.away(*part, millis(*time)),
        Action::LogAway { time } => ground.log.away(millis(*time)),
        Action::SinkDown { sink } => ground.log.down.lock().unwrap().push(*sink),
        Action::SinkBack { sink } => {
            ground.log.down.lock().unwrap().retain(|of| of != sink);
            happened(Happening::SinkBack);
        }
        Action::PublishFails { sink, after } => ground.log.fail_after(*sink, *after),
        Action::DeliveryFails { slot, landing } => {
            if let Some(process) = group.process(*slot) {
                process.may_halt.store(true, std::sync::atomic::Ordering::Relaxed);
                process.senders.fail(*landing);
            }
        }
        Action::KeysAway { slot, time } => {
            if let Some(process) = group.process(*slot) {
                process.lose_keys(millis(*time));
            }
        }
        Action::DamageCheckpoints => {
            ground.store.damage_checkpoints();
            happened(Happening::CheckpointDamaged);
        }
        Action::DeleteCheckpoints => {
            ground.store.delete_checkpoints();
            happened(Happening::CheckpointDeleted);
        }
        Action::Mend => {
            IS_MENDED.set(true);
            happened(Happening::Mended);
        }
        Action::Release { user } => asking::release(ground, user),
        Action::ReleaseAll => asking::release_all(ground),
        Action::Rebuild { user } => asking::rebuild(ground, user),
        Action::Alert { user, what } => asking::alert(ground, user, *what),
        Action::Redrive => asking::redrive(ground),
        Action::Discard => asking::discard(ground),
        Action::Erase { user } => asking::erase(ground, user),
        Action::Readmit { user } => asking::readmit(ground, user),
        Action::Rotate { user } => asking::rotate(ground, user.as_deref()),
        // Only an operator, who goes on with them, can.
        Action::Expand { .. } | Action::Adopt => {}
        Action::ClockJump { slot, micros } => group.set_clock(*slot, *micros),
    }
}

/// Faults stop: says what is not done in time, or not right in the end.
async fn finish(group: &mut Group, operator: &mut Operator) -> Vec<String> {
    group.ground.auditor.note("faults stop");
    group.ground.log.heal();
    group.ground.store.heal();
    group.heal();
    let until = Instant::now() + HEALED_WITHIN;
    while Instant::now() < until && (operator.is_adopting() || !behind(group).is_empty()) {
        let next = Instant::now() + Duration::from_millis(200);
        pass(group, operator, next).await;
        if group.ground.auditor.has_violations() {
            return Vec::new();
        }
    }
    let mut problems: Vec<String> =
        behind(group).into_iter().map(|what| format!("I10: {what}")).collect();
    if !problems.is_empty() {
        return problems;
    }
    group.leave();
    tokio::time::sleep(Duration::from_secs(5)).await;
    problems.extend(group.ground.auditor.look(|reference| {
        let adrift = reference.judge.adrift();
        adrift.first().map(|(origin, offset)| format!("I1: {origin}/{offset} was not applied"))
    }));
    problems
}

/// What is still to be done.
fn behind(group: &Group) -> Vec<String> {
    let ground = &group.ground;
    let mut behind = ground.auditor.look(|reference| reference.departures.waiting());
    behind.extend(ground.store.look(|tables| {
        let open = tables.commands.len() - tables.outcomes.len();
        (open > 0).then(|| format!("{open} commands are open"))
    }));
    let lanes = ground.store.routing().partition_count;
    for (lane, ends) in ground.log.ends().into_iter().filter(|(lane, _)| lane.0 < lanes) {
        let positions = ground.store.positions(lane);
        if positions != ends {
            behind.push(format!("lane {lane} is at {positions:?}, not at {ends:?}"));
        }
    }
    behind.truncate(5);
    behind
}
