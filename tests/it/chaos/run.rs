//! A run: the plan's faults one by one beside the stream, then the work's end and the check of everything.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cutter::Cutter;
use super::evidence;
use super::fleet::Fleet;
use super::plan::{Fault, Harm, Output, Whose, plan};
use super::traffic::{Acknowledged, BEATS_A_BURST, GROUPS, NUMBER, Traffic, people_of};
use crate::servers::{Kafka, Postgres, Redis, Server as _};
use crate::service::check;
use crate::service::site::{LANES, Site, Stamps};

/// What an installation may take until it reads everything again: the session timeout that tests
/// use, and thirty seconds.
const RECOVERY: Duration = Duration::from_secs(6 + 30);

/// How long halted instances are given until what they sent has arrived.
const SETTLE: Duration = Duration::from_millis(300);

/// How long a fault waits at most until records flow, and how many that are.
const FLOW: Duration = Duration::from_secs(15);
const A_FLOW: i64 = 100;

/// So many kills leave nothing to chance.
const MANY: usize = 100;

/// How long there is much work for an instance that is to be replaced.
const BEATS_A_ZOMBIE: usize = 50;

/// How often a statement that the database gave up is tried.
const TRIES: usize = 20;

#[expect(clippy::disallowed_methods, reason = "how long a recovery takes is what is checked")]
fn now() -> Instant {
    Instant::now()
}

/// A whole run; panics when anything is not as promised.
pub(super) fn run(seed: u64, kills: usize, minutes: u64) {
    let (kafka, postgres, redis) = std::thread::scope(|scope| {
        let kafka = scope.spawn(Kafka::start);
        let postgres = scope.spawn(Postgres::start_on_small_disk);
        let redis = Redis::start();
        let joined = "the server starts";
        (kafka.join().expect(joined), postgres.join().expect(joined), redis)
    });
    let mut site = Site::new(&kafka, &postgres, &redis, Stamps::Producer);
    let cutter = Cutter::start(postgres.port());
    let through = format!("127.0.0.1:{}/", cutter.port);
    let direct = format!("127.0.0.1:{}/", postgres.port());
    site.set("POSTGRES_URL", &site.database.replace(&direct, &through));
    site.set("BRIDGE__USERS__IDLE_AFTER", "5s");
    site.set("BRIDGE__SHUTDOWN__DEADLINE", "10s");
    let fleet = Fleet::start(&site);
    let mut run = Run {
        site: &site,
        cutter: &cutter,
        fleet,
        deleted: None,
        started: now(),
        steps: 0,
        kills: 0,
        lines: Vec::new(),
    };
    run.say(&format!("CHAOS_SEED={seed} CHAOS_KILLS={kills} CHAOS_MINUTES={minutes}"));
    let ended = catch_unwind(AssertUnwindSafe(|| run.all(seed, kills, minutes)));
    if let Err(failure) = ended {
        run.keep(seed);
        resume_unwind(failure);
    }
}

/// A run in progress.
struct Run<'s> {
    site: &'s Site<'s>,
    cutter: &'s Cutter,
    fleet: Fleet<'s>,
    /// The output topic that is away.
    deleted: Option<Output>,
    started: Instant,
    steps: usize,
    kills: usize,
    lines: Vec<String>,
}

impl Run<'_> {
    fn all(&mut self, seed: u64, kills: usize, minutes: u64) {
        let traffic = Traffic::default();
        let site = self.site;
        let (sent, healed) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| traffic.run(site.kafka, &site.topics.events, seed));
            let ends = traffic.ends();
            self.faults(seed, kills, minutes, &traffic);
            let healed = now();
            drop(ends);
            (sending.join().expect("sending does not panic"), healed)
        });
        self.drain(healed);
        site.wait_caught_up();
        self.fleet.end();
        self.say("all instances have ended in order; checking");
        check::tables(site);
        check::topics_and_replays(site, &neuros::Policy::default());
        check::at_rest(site);
        self.nobody_raised_an_alarm();
        self.everything_is_there(&sent);
        self.summary(seed, sent.len());
    }

    fn faults(&mut self, seed: u64, kills: usize, minutes: u64, traffic: &Traffic) {
        let limit = Duration::from_secs(minutes * 60);
        for step in plan(seed, kills) {
            sleep(step.pause);
            if self.started.elapsed() > limit {
                self.say("the time is over before all faults have come");
                break;
            }
            if step.in_flow {
                self.wait_for_flow();
            }
            self.fleet.revive();
            let said = self.inflict(step.fault, traffic);
            self.steps += 1;
            let read = self.read().map_or("-".to_owned(), |read| read.to_string());
            let fault = format!("{:?}", step.fault);
            self.say(&format!("{fault:<30} {said}sent {} read {read}", traffic.sent()));
        }
        self.heal();
    }

    /// Records read and committed; `None` while there is no database.
    fn read(&self) -> Option<i64> {
        let read = "SELECT coalesce(sum(events_position), 0) FROM lanes";
        self.site.postgres.try_psql(&self.site.database, read).ok()?.parse().ok()
    }

    /// Waits until records have been read, or for a while.
    fn wait_for_flow(&mut self) {
        let since = now();
        let before = self.read();
        while since.elapsed() < FLOW {
            sleep(SETTLE);
            self.fleet.revive();
            if self.read() > before.map(|read| read + A_FLOW) {
                return;
            }
        }
        self.say("no records flow");
    }

    /// Does what the plan says; gives what is to be told of it.
    fn inflict(&mut self, fault: Fault, traffic: &Traffic) -> String {
        let site = self.site;
        let (kafka, postgres, redis) = (site.kafka, site.postgres, site.redis);
        match fault {
            Fault::Kill(instance) => {
                self.fleet.kill(instance);
                self.kills += 1;
            }
            Fault::Terminate(instance) => {
                return format!("{}, ", self.fleet.terminate(instance));
            }
            Fault::Start(instance) => self.fleet.start_again(instance),
            Fault::Freeze(instance) => self.fleet.freeze(instance),
            Fault::Zombie(instance) => {
                // In the middle of much work, which it goes on with when another has it.
                traffic.burst(BEATS_A_ZOMBIE);
                sleep(SETTLE);
                self.fleet.freeze(instance);
            }
            Fault::Thaw(instance) => self.fleet.thaw(instance),
            Fault::Join => self.fleet.join(),
            Fault::Leave => return format!("{}, ", self.fleet.leave()),
            Fault::CrashPostgres => postgres.crash(),
            Fault::KillPostgres => postgres.kill(),
            Fault::StartPostgres => postgres.start_again(),
            Fault::Cut(cut, count) => self.cutter.cut(cut, count),
            Fault::StopKafka => kafka.stop(),
            Fault::KillKafka => kafka.kill(),
            Fault::StartKafka => kafka.start_again(),
            Fault::FlushRedis => redis.flush(),
            Fault::StopRedis => redis.stop(),
            Fault::StartRedis => redis.start_again(),
            Fault::DeleteTopic(output) => self.delete_topic(output),
            Fault::CreateTopic(output) => self.create_topic(output),
            Fault::Burst => traffic.burst(BEATS_A_BURST),
            Fault::FillDisk => match postgres.disk() {
                Some(disk) => disk.fill(),
                None => return "left out: mounting is not permitted, ".to_owned(),
            },
            Fault::FreeDisk => self.free_disk(),
            Fault::Checkpoints(harm, whose) => self.harm_checkpoints(harm, whose, traffic.group()),
        }
        String::new()
    }

    fn topic(&self, output: Output) -> &str {
        match output {
            Output::Transitions => &self.site.topics.transitions,
            Output::DeadLetters => &self.site.topics.dead_letters,
        }
    }

    /// Deletes an output topic. Nobody writes while it is read for the last time: what was taken by
    /// the broker and deleted is no loss of ours.
    fn delete_topic(&mut self, output: Output) {
        let topic = self.topic(output).to_owned();
        self.fleet.all_halted(|| {
            sleep(SETTLE);
            self.site.keep_messages(&topic);
            self.site.kafka.delete_topic(&topic);
        });
        self.deleted = Some(output);
    }

    fn create_topic(&mut self, output: Output) {
        let lanes = i32::try_from(LANES).expect("few");
        self.site.kafka.topic(self.topic(output), lanes, &[]);
        self.deleted = None;
    }

    fn free_disk(&self) {
        let postgres = self.site.postgres;
        let Some(disk) = postgres.disk() else { return };
        disk.free();
        // Without room for its log it may have ended itself.
        if !postgres.runs() {
            postgres.kill();
            postgres.start_again();
        }
    }

    fn harm_checkpoints(&self, harm: Harm, whose: Whose, group: usize) {
        let group = match whose {
            Whose::Live => group,
            Whose::Cold => (group + GROUPS / 2) % GROUPS,
        };
        let people = people_of(group);
        let sql = match harm {
            Harm::ByView => {
                format!("DELETE FROM neuros_checkpoints WHERE thread_id LIKE '{people}'")
            }
            Harm::Taken => {
                format!("UPDATE users SET checkpoint = NULL WHERE user_id LIKE '{people}'")
            }
            Harm::Spoilt => format!(
                "UPDATE users SET checkpoint = '{}'
                 WHERE user_id LIKE '{people}' AND checkpoint IS NOT NULL",
                check::SPOILT
            ),
        };
        let mut complaint = String::new();
        for _ in 0..TRIES {
            // It may lock users in another order than the service and be the one to give way.
            match self.site.postgres.try_psql(&self.site.database, &sql) {
                Ok(_) => return,
                Err(its) => complaint = its,
            }
            sleep(SETTLE);
        }
        panic!("{sql}: {complaint}");
    }

    /// Undoes whatever is not undone yet.
    fn heal(&mut self) {
        self.cutter.rest();
        let site = self.site;
        if !site.kafka.runs() {
            site.kafka.start_again();
        }
        self.free_disk();
        if !site.postgres.runs() {
            site.postgres.start_again();
        }
        if !site.redis.runs() {
            site.redis.start_again();
        }
        if let Some(output) = self.deleted {
            self.create_topic(output);
        }
        self.fleet.heal();
    }

    /// Waits until everything is read, which must not take long and needs no help.
    fn drain(&mut self, healed: Instant) {
        loop {
            let lag = self.site.lag();
            let took = healed.elapsed();
            if lag == 0 && self.fleet.all_ready() {
                let seconds = took.as_secs_f64();
                return self
                    .say(&format!("everything is read {seconds:.1} s after the last fault"));
            }
            assert!(
                took < RECOVERY,
                "after {took:?} a lag of {lag} is left, or somebody is not ready"
            );
            self.fleet.revive();
            sleep(SETTLE);
        }
    }

    /// What the broker has acknowledged is on the topic.
    fn everything_is_there(&mut self, sent: &[Acknowledged]) {
        let messages = self.site.kafka.read_all(&self.site.topics.events);
        let mut places: BTreeMap<usize, Vec<(i32, i64)>> = BTreeMap::new();
        for message in &messages {
            let number = message.header(NUMBER).and_then(|number| number.parse().ok());
            let place = (message.partition, message.offset);
            places.entry(number.expect("every message is numbered")).or_default().push(place);
        }
        let count = messages.len();
        self.say(&format!("{} events were acknowledged, {count} are on the topic", sent.len()));
        for its in places.values().filter(|its| its.len() > 1) {
            self.say(&format!("twice on the topic: {its:?}"));
        }
        for its in sent {
            let found = places.get(&its.number);
            if !found.is_some_and(|places| places.contains(&its.place)) {
                self.say(&format!("{its:?} lies at {found:?}"));
            }
        }
        for its in sent {
            assert!(places.contains_key(&its.number), "{its:?} is lost");
        }
    }

    /// What an instance says only when something is wrong with it. Rows that are there already are such a
    /// wrong: they are what stops a writer whom the fence has let pass.
    fn nobody_raised_an_alarm(&self) {
        const ALARMS: [&str; 6] = [
            "the lane has stopped",
            "a user's state cannot be restored",
            "an outbox row does not open",
            "the program has a fault",
            "the lane's owner has failed",
            "the lane's thread has ended",
        ];
        for (instance, log) in self.fleet.logs().iter().enumerate() {
            let alarm = log.lines().find(|line| ALARMS.iter().any(|alarm| line.contains(alarm)));
            assert_eq!(alarm, None, "instance {instance} raised an alarm");
        }
    }

    /// How often the instances said something.
    fn said(&self, words: &str) -> i64 {
        let count: usize = self.fleet.logs().iter().map(|log| log.matches(words).count()).sum();
        i64::try_from(count).expect("few")
    }

    fn summary(&mut self, seed: u64, sent: usize) {
        let number = |sql: &str| self.site.number(sql);
        let counts = [
            ("events sent", i64::try_from(sent).expect("few")),
            ("records stored", number("SELECT count(*) FROM event_records")),
            ("duplicates", number("SELECT sum(events_duplicate + by_user_duplicate) FROM lanes")),
            ("forwarded", number("SELECT sum(events_forwarded) FROM lanes")),
            ("dead letters", number("SELECT count(*) FROM dead_letters")),
            ("mode changes", number("SELECT count(*) FROM mode_transitions")),
            ("claims", number("SELECT sum(epoch) FROM lanes")),
            ("commits cut", i64::try_from(self.cutter.done()).expect("few")),
            ("forwarded again", number("SELECT sum(by_user_skipped) FROM lanes")),
            ("unknown outcomes", self.said("the outcome of a commit is unknown")),
            ("commits tried again", self.said("a commit is tried again")),
            ("times fenced", self.said("fenced: another owner has the lane")),
            ("checkpoints rebuilt", self.said("a checkpoint is rebuilt")),
        ];
        // In a short run chance may leave one of the last ones out.
        let surely = if self.kills < MANY { 8 } else { counts.len() };
        for (what, count) in &counts[..surely] {
            assert!(*count > 0, "the run has {count} {what}");
        }
        let counts = counts.map(|(what, count)| format!("{count} {what}")).join(", ");
        let (steps, kills, own) = (self.steps, self.kills, self.fleet.by_themselves);
        let seconds = self.started.elapsed().as_secs();
        self.say(&format!(
            "CHAOS_SEED={seed}: everything holds after {seconds} s, {steps} steps, {kills} kills, \
             {own} ends by themselves; {counts}"
        ));
    }

    /// Says it past the test harness: who waits for minutes wants to see something.
    fn say(&mut self, text: &str) {
        let line = format!("chaos {:7.1} s  {text}", self.started.elapsed().as_secs_f64());
        writeln!(std::io::stderr(), "{line}").expect("there is a standard error");
        self.lines.push(line);
    }

    /// Keeps what there is to look at after a failure, and says where.
    fn keep(&mut self, seed: u64) {
        let site = self.site;
        let mut texts = vec![
            ("steps.log".to_owned(), self.lines.join("\n")),
            ("kafka.log".to_owned(), site.kafka.log()),
            ("postgres.log".to_owned(), site.postgres.log()),
            ("keys.txt".to_owned(), std::fs::read_to_string(&site.key_file).unwrap_or_default()),
        ];
        let logs = self.fleet.logs().into_iter().enumerate();
        texts.extend(logs.map(|(instance, log)| (format!("bridge-{instance}.log"), log)));
        let up = catch_unwind(AssertUnwindSafe(|| self.heal_servers()));
        if up.is_ok()
            && let Ok(dump) =
                catch_unwind(AssertUnwindSafe(|| site.postgres.dump(&site.database, &[])))
        {
            texts.push(("database.sql".to_owned(), dump));
        }
        let folder = evidence::keep(seed, &texts);
        let last = self.lines.len().saturating_sub(12);
        let last = self.lines[last..].join("\n");
        let said = format!("FAILED with CHAOS_SEED={seed}; logs: {}\n{last}", folder.display());
        self.say(&said);
    }

    /// The database runs, so that it can be looked at.
    fn heal_servers(&self) {
        self.free_disk();
        if !self.site.postgres.runs() {
            self.site.postgres.start_again();
        }
    }
}
