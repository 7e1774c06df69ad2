//! What must hold of a run beside what holds of every installation, and what it came to.

use std::collections::BTreeMap;
use std::fmt;

use super::run::Run;
use super::traffic::{Acknowledged, NUMBER};

/// So many kills leave nothing to chance.
const MANY: usize = 100;

/// Oddities of the broker that are told, at most.
const ODD_MAX: usize = 20;

/// Why a run proves nothing.
pub(super) enum Failure {
    /// Something is not as promised.
    Promise(String),
    /// The time was over before all of the plan had come, though what came did no harm.
    TimeOver(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promise(why) => f.write_str(why),
            Self::TimeOver(extent) => {
                write!(f, "the time was over after {extent}; CHAOS_MINUTES gives it more")
            }
        }
    }
}

impl Run<'_> {
    /// Whether all of the plan has come, every kill that was asked for among it.
    pub(super) fn is_whole(&self) -> bool {
        self.steps == self.plan.len() && self.kills == self.asked
    }

    /// How much of the plan has come.
    pub(super) fn extent(&self) -> String {
        let (steps, kills) = (self.steps, self.kills);
        format!("{steps} of {} steps and {kills} of {} kills", self.plan.len(), self.asked)
    }

    /// What the broker has acknowledged is on the topic.
    pub(super) fn everything_is_there(&mut self, sent: &[Acknowledged]) {
        let messages = self.site.kafka.read_all(&self.site.topics.events);
        let mut places: BTreeMap<usize, Vec<(i32, i64)>> = BTreeMap::new();
        for message in &messages {
            let number = message.header(NUMBER).and_then(|number| number.parse().ok());
            let place = (message.partition, message.offset);
            places.entry(number.expect("every message is numbered")).or_default().push(place);
        }
        let count = messages.len();
        self.say(&format!("{} events were acknowledged, {count} are on the topic", sent.len()));
        let twice = places.values().filter(|its| its.len() > 1);
        let elsewhere = sent.iter().map(|its| (its, places.get(&its.number)));
        let elsewhere =
            elsewhere.filter(|(its, found)| !found.is_some_and(|at| at.contains(&its.place)));
        let odd = twice.map(|its| format!("twice on the topic: {its:?}"));
        let odd = odd.chain(elsewhere.map(|(its, found)| format!("{its:?} lies at {found:?}")));
        odd.take(ODD_MAX).for_each(|its| self.say(&its));
        let lost = sent.iter().find(|its| !places.contains_key(&its.number));
        assert!(lost.is_none(), "an acknowledged event is lost: {lost:?}");
    }

    /// What an instance says only when something is wrong with it. Rows that are there already are such a
    /// wrong: they are what stops a writer whom the fence has let pass.
    pub(super) fn nobody_raised_an_alarm(&self) {
        const ALARMS: [&str; 6] = [
            "the lane has stopped",
            "a user's state cannot be restored",
            "an outbox row does not open",
            "the program has a fault",
            "the lane's owner has failed",
            "the lane's thread has ended",
        ];
        // Lanes stop, and the process ends, when users have found new homes.
        const MORE_PARTITIONS: &str = "a new process goes on with them";
        for (instance, log) in self.fleet.logs().iter().enumerate() {
            let is_alarm = |line: &&str| {
                ALARMS.iter().any(|alarm| line.contains(alarm)) && !line.contains(MORE_PARTITIONS)
            };
            let alarm = log.lines().find(is_alarm);
            assert_eq!(alarm, None, "instance {instance} raised an alarm");
        }
    }

    /// How often the instances said something.
    fn said(&self, words: &str) -> i64 {
        let count: usize = self.fleet.logs().iter().map(|log| log.matches(words).count()).sum();
        i64::try_from(count).expect("few")
    }

    pub(super) fn summary(&mut self, seed: u64, sent: usize) {
        let number = |sql: &str| self.site.number(sql);
        let counts = [
            ("events sent", i64::try_from(sent).expect("few")),
            ("records stored", number("SELECT count(*) FROM event_records")),
            ("duplicates", number("SELECT sum(events_duplicate + by_user_duplicate) FROM lanes")),
            ("forwarded", number("SELECT sum(events_forwarded) FROM lanes")),
            ("dead letters", number("SELECT count(*) FROM dead_letters")),
            ("mode changes", number("SELECT count(*) FROM mode_transitions")),
            ("changes of alerts", number("SELECT count(*) FROM alert_changes")),
            ("claims", number("SELECT sum(epoch) FROM lanes")),
            ("commits cut", i64::try_from(self.cutter.done()).expect("few")),
            ("forwarded again", number("SELECT sum(by_user_skipped) FROM lanes")),
            ("unknown outcomes", self.said("the outcome of a commit is unknown")),
            ("commits tried again", self.said("a commit is tried again")),
            ("times fenced", self.said("fenced: another owner has the lane")),
            ("checkpoints rebuilt", self.said("a checkpoint is rebuilt")),
        ];
        // In a short run chance may leave one of the last ones out; one that was cut off may lack any.
        let surely = match self.is_whole() {
            true if self.kills < MANY => 9,
            true => counts.len(),
            false => 0,
        };
        for (what, count) in &counts[..surely] {
            assert!(*count > 0, "the run has {count} {what}");
        }
        let counts = counts.map(|(what, count)| format!("{count} {what}")).join(", ");
        let what =
            if self.is_whole() { "everything holds" } else { "NO WHOLE RUN; what came holds" };
        let left_out = self.left_out.iter().map(|why| format!("; left out: {why}"));
        let left_out: String = left_out.collect();
        let (extent, own) = (self.extent(), self.fleet.by_themselves);
        let seconds = self.started.elapsed().as_secs();
        self.say(&format!(
            "CHAOS_SEED={seed}: {what} after {seconds} s, {extent}{left_out}, {own} ends by \
             themselves; {counts}"
        ));
    }
}
