//! The plan of a run: which fault comes when, drawn from a seed. Nothing else decides.

use std::ops::Range;
use std::time::Duration;

/// Instances that always should run; one more comes and goes.
pub(super) const INSTANCES: usize = 3;

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("few");
        usize::try_from(self.next() % count).expect("below a usize")
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn millis(&mut self, range: Range<usize>) -> Duration {
        let millis = range.start + self.below(range.end - range.start);
        Duration::from_millis(u64::try_from(millis).expect("few"))
    }
}

/// Where the connection to the database is cut around a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It never gets there.
    Before,
    /// It gets there, and nobody waits for the answer.
    Behind,
    /// The answer was there, and is not passed on.
    Answered,
}

/// Whose checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// People of whom events come.
    Live,
    /// People of whom none have come for a while, so that no process remembers them.
    Cold,
}

/// What becomes of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// Deleted as runbooks do it.
    ByView,
    /// Taken away behind the view.
    Taken,
    /// Replaced by bytes that are none.
    Spoilt,
}

/// An output topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Transitions,
    Alerts,
    DeadLetters,
}

/// What operators do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Dead letters of one lane are tried again.
    Redrive,
    /// Some are given up.
    Discard,
    /// Somebody's state is made anew.
    Rebuild,
    /// Somebody is put in quarantine, as if an evaluation had failed.
    Quarantine,
    /// Everybody in quarantine is released.
    Release,
    /// More partitions are added.
    Expand,
}

/// What is done. Of a pair the second undoes the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill(usize),
    Terminate(usize),
    Start(usize),
    Freeze(usize),
    Zombie(usize),
    Thaw(usize),
    Join,
    Leave,
    CrashPostgres,
    KillPostgres,
    StartPostgres,
    Cut(Cut, usize),
    StopKafka,
    KillKafka,
    StartKafka,
    FlushRedis,
    StopRedis,
    StartRedis,
    DeleteTopic(Output),
    CreateTopic(Output),
    Burst,
    FillDisk,
    FreeDisk,
    Checkpoints(Harm, Whose),
    /// The packets of an instance vanish, and pass again.
    Unplug(usize),
    Plug(usize),
    /// Nothing passes to PostgreSQL, and nothing is closed; connections of then never recover.
    Silence,
    Speak,
    Operators(Order),
}

/// A fault, and the pause before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) pause: Duration,
    /// It comes once records flow, so that it meets work and not only the fault before it.
    pub(super) in_flow: bool,
    pub(super) fault: Fault,
}

/// Faults beside kills; each comes at least once, and as often for each twenty kills.
const BESIDE: [Kind; 36] = [
    Kind::Terminate,
    Kind::Terminate,
    Kind::Freeze,
    Kind::Zombie,
    Kind::Zombie,
    Kind::Zombie,
    Kind::Join,
    Kind::CrashPostgres,
    Kind::KillPostgres,
    Kind::Cut(Cut::Before),
    Kind::Cut(Cut::Behind),
    Kind::Cut(Cut::Behind),
    Kind::Cut(Cut::Answered),
    Kind::Cut(Cut::Answered),
    Kind::StopKafka,
    Kind::FlushRedis,
    Kind::StopRedis,
    Kind::DeleteTopic(Output::Transitions),
    Kind::DeleteTopic(Output::Alerts),
    Kind::DeleteTopic(Output::DeadLetters),
    Kind::Burst,
    Kind::FillDisk,
    Kind::Checkpoints(Harm::ByView, Whose::Live),
    Kind::Checkpoints(Harm::ByView, Whose::Cold),
    Kind::Checkpoints(Harm::Taken, Whose::Live),
    Kind::Checkpoints(Harm::Taken, Whose::Cold),
    Kind::Checkpoints(Harm::Spoilt, Whose::Cold),
    Kind::Unplug(BRIEFLY),
    Kind::Unplug(UNTIL_REPLACED),
    Kind::Silence,
    Kind::Operators(Order::Redrive),
    Kind::Operators(Order::Discard),
    Kind::Operators(Order::Rebuild),
    Kind::Operators(Order::Quarantine),
    Kind::Operators(Order::Release),
    Kind::Operators(Order::Release),
];

/// For how long an instance is halted or its packets vanish, milliseconds: a moment, or longer than the six
/// seconds for which the group waits for it.
const BRIEFLY: Range<usize> = 500..2_000;
const UNTIL_REPLACED: Range<usize> = 7_500..11_000;

const KILLS_A_ROUND: usize = 20;

/// Partitions are added in the middle and, in a long run, once more.
const EXPANSIONS_MAX: usize = 2;

#[derive(Clone)]
enum Kind {
    Kill,
    Terminate,
    Freeze,
    Zombie,
    Join,
    CrashPostgres,
    KillPostgres,
    Cut(Cut),
    StopKafka,
    FlushRedis,
    StopRedis,
    DeleteTopic(Output),
    Burst,
    FillDisk,
    Checkpoints(Harm, Whose),
    Unplug(Range<usize>),
    Silence,
    Operators(Order),
}

/// The steps of a run that kills so often.
pub(super) fn plan(seed: u64, kills: usize) -> Vec<Step> {
    let rounds = kills.div_ceil(KILLS_A_ROUND);
    let mut bag = vec![Kind::Kill; kills];
    (0..rounds).for_each(|_| bag.extend(BESIDE));
    bag.extend(vec![Kind::Operators(Order::Expand); rounds.min(EXPANSIONS_MAX)]);
    let draw = Draw::new(seed);
    let mut drawing =
        Drawing { draw, steps: Vec::new(), due: Vec::new(), pause: Duration::ZERO, in_flow: false };
    for last in (1..bag.len()).rev() {
        bag.swap(last, drawing.draw.below(last + 1));
    }
    bag.into_iter().for_each(|kind| drawing.add(kind));
    drawing.heal_until(|due| due.is_empty());
    drawing.steps
}

/// A plan in the making.
struct Drawing {
    draw: Draw,
    steps: Vec<Step>,
    /// What has yet to be undone, and how long that takes from now.
    due: Vec<(Duration, Fault)>,
    /// What the next step comes after.
    pause: Duration,
    in_flow: bool,
}

impl Drawing {
    fn add(&mut self, kind: Kind) {
        let pause = self.draw.millis(200..2_500);
        self.wait(pause);
        self.make_room_for(&kind);
        // Who is halted over nothing has nothing to do wrong later.
        let in_flow = matches!(kind, Kind::Zombie | Kind::Unplug(_)) || self.draw.below(2) == 0;
        self.in_flow = in_flow && self.can_flow();
        match kind {
            Kind::Kill => self.end(Fault::Kill),
            Kind::Terminate => self.end(Fault::Terminate),
            Kind::Freeze => {
                let instance = self.free_instance();
                self.now(Fault::Freeze(instance));
                self.later(BRIEFLY, Fault::Thaw(instance));
            }
            Kind::Zombie => {
                let instance = self.free_instance();
                self.now(Fault::Zombie(instance));
                self.later(UNTIL_REPLACED, Fault::Thaw(instance));
            }
            Kind::Join => {
                self.now(Fault::Join);
                self.later(4_000..12_000, Fault::Leave);
            }
            Kind::CrashPostgres | Kind::KillPostgres => {
                let crash = matches!(kind, Kind::CrashPostgres);
                self.now(if crash { Fault::CrashPostgres } else { Fault::KillPostgres });
                self.later(100..3_000, Fault::StartPostgres);
            }
            Kind::Cut(cut) => {
                let count = 1 + self.draw.below(4);
                self.now(Fault::Cut(cut, count));
            }
            Kind::StopKafka => {
                let fault = self.draw.one_of(&[Fault::StopKafka, Fault::KillKafka]);
                self.now(fault);
                self.later(100..3_000, Fault::StartKafka);
            }
            Kind::FlushRedis => self.now(Fault::FlushRedis),
            Kind::StopRedis => {
                self.now(Fault::StopRedis);
                self.later(1_000..5_000, Fault::StartRedis);
            }
            Kind::DeleteTopic(output) => {
                self.now(Fault::DeleteTopic(output));
                self.later(100..3_000, Fault::CreateTopic(output));
            }
            Kind::Burst => self.now(Fault::Burst),
            Kind::FillDisk => {
                self.now(Fault::FillDisk);
                self.later(1_000..5_000, Fault::FreeDisk);
            }
            Kind::Checkpoints(harm, whose) => self.now(Fault::Checkpoints(harm, whose)),
            Kind::Unplug(millis) => {
                let instance = self.free_instance();
                self.now(Fault::Unplug(instance));
                self.later(millis, Fault::Plug(instance));
            }
            Kind::Silence => {
                self.now(Fault::Silence);
                self.later(500..3_000, Fault::Speak);
            }
            Kind::Operators(order) => self.now(Fault::Operators(order)),
        }
    }

    /// Ends an instance and starts it again some time later.
    fn end(&mut self, fault: impl Fn(usize) -> Fault) {
        let instance = self.free_instance();
        self.now(fault(instance));
        self.later(0..3_000, Fault::Start(instance));
    }

    fn now(&mut self, fault: Fault) {
        let in_flow = std::mem::take(&mut self.in_flow);
        self.steps.push(Step { pause: std::mem::take(&mut self.pause), in_flow, fault });
    }

    fn later(&mut self, millis: Range<usize>, fault: Fault) {
        let wait = self.draw.millis(millis);
        self.due.push((wait, fault));
        self.due.sort_by_key(|(wait, _)| *wait);
    }

    /// Lets time pass, in which what is due is undone; the next step comes after the rest of it.
    fn wait(&mut self, mut pause: Duration) {
        while self.due.first().is_some_and(|(wait, _)| *wait <= pause) {
            pause -= self.heal();
        }
        self.due.iter_mut().for_each(|(wait, _)| *wait -= pause);
        self.pause += pause;
    }

    /// Waits for what is due next and undoes it.
    fn heal(&mut self) -> Duration {
        let (wait, fault) = self.due.remove(0);
        self.due.iter_mut().for_each(|(its, _)| *its -= wait);
        self.pause += wait;
        self.now(fault);
        wait
    }

    fn heal_until(&mut self, enough: impl Fn(&[(Duration, Fault)]) -> bool) {
        while !enough(&self.due) {
            self.heal();
        }
    }

    /// Waits until what this needs is there.
    fn make_room_for(&mut self, kind: &Kind) {
        let needs: &[fn(Fault) -> bool] = match kind {
            Kind::Join => &[|due| due == Fault::Leave],
            Kind::CrashPostgres | Kind::KillPostgres | Kind::FillDisk | Kind::Checkpoints(..) => {
                &[|due| matches!(due, Fault::StartPostgres | Fault::FreeDisk)]
            }
            // By SQL, and what it is to follow needs the database.
            Kind::Operators(Order::Quarantine | Order::Rebuild) => {
                &[|due| matches!(due, Fault::StartPostgres | Fault::FreeDisk)]
            }
            // What is to be made again needs the broker.
            Kind::DeleteTopic(_) | Kind::StopKafka => {
                &[|due| matches!(due, Fault::StartKafka | Fault::CreateTopic(_))]
            }
            Kind::FlushRedis | Kind::StopRedis => &[|due| due == Fault::StartRedis],
            Kind::Kill | Kind::Terminate | Kind::Freeze | Kind::Zombie | Kind::Unplug(_) => {
                self.heal_until(|due| {
                    due.iter().filter(|(_, its)| is_of_instance(*its)).count() < INSTANCES
                });
                return;
            }
            Kind::Cut(_) | Kind::Burst | Kind::Silence | Kind::Operators(_) => return,
        };
        self.heal_until(|due| !due.iter().any(|(_, its)| needs.iter().any(|need| need(*its))));
    }

    /// Whether everything is there that records need to flow.
    fn can_flow(&self) -> bool {
        let away = |fault| {
            matches!(
                fault,
                Fault::StartPostgres | Fault::FreeDisk | Fault::StartKafka | Fault::Speak
            )
        };
        let instances = self.due.iter().filter(|(_, fault)| is_of_instance(*fault)).count();
        instances < INSTANCES && !self.due.iter().any(|(_, fault)| away(*fault))
    }

    /// An instance that runs.
    fn free_instance(&mut self) -> usize {
        let taken = |instance: &usize| {
            let undoes = [Fault::Start(*instance), Fault::Thaw(*instance), Fault::Plug(*instance)];
            self.due.iter().any(|(_, its)| undoes.contains(its))
        };
        let free: Vec<usize> = (0..INSTANCES).filter(|instance| !taken(instance)).collect();
        self.draw.one_of(&free)
    }
}

fn is_of_instance(fault: Fault) -> bool {
    matches!(fault, Fault::Start(_) | Fault::Thaw(_) | Fault::Plug(_))
}

#[test]
fn a_plan_is_the_same_for_the_same_seed_and_undoes_all_that_it_does() {
    let text = |seed| format!("{:?}", plan(seed, 20));
    assert_eq!(text(7), text(7));
    assert_ne!(text(7), text(8));
    for seed in 0..200 {
        let steps = plan(seed, 40);
        let count = |is: fn(&Fault) -> bool| steps.iter().filter(|step| is(&step.fault)).count();
        assert_eq!(count(|fault| matches!(fault, Fault::Kill(_))), 40);
        assert_eq!(
            count(|fault| matches!(fault, Fault::Kill(_) | Fault::Terminate(_))),
            count(|fault| matches!(fault, Fault::Start(_)))
        );
        assert_eq!(
            count(|fault| matches!(fault, Fault::Freeze(_) | Fault::Zombie(_))),
            count(|fault| matches!(fault, Fault::Thaw(_)))
        );
        assert_eq!(
            count(|fault| matches!(fault, Fault::Unplug(_))),
            count(|fault| matches!(fault, Fault::Plug(_)))
        );
        assert_eq!(count(|fault| *fault == Fault::Silence), 2);
        assert_eq!(count(|fault| *fault == Fault::Speak), 2);
        assert_eq!(count(|fault| *fault == Fault::FillDisk), 2);
        assert_eq!(count(|fault| *fault == Fault::FreeDisk), 2);
        for output in [Output::Transitions, Output::Alerts, Output::DeadLetters] {
            let away = [Fault::DeleteTopic(output), Fault::CreateTopic(output)];
            let its = steps.iter().map(|step| step.fault).filter(|fault| away.contains(fault));
            assert_eq!(its.collect::<Vec<_>>(), [away, away].concat());
        }
    }
}
