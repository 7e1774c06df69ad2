//! A run: the plan's faults one by one beside the stream, then the work's end and the check of everything.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::cutter::Cutter;
use super::fleet::Fleet;
use super::operators::Operators;
use super::plan::{Fault, Harm, INSTANCES, Output, Step, Whose, plan};
use super::retention;
use super::traffic::{BEATS_A_BURST, GROUPS, Traffic, people_of};
use super::verdict::Failure;
use crate::servers::{Kafka, Network, Postgres, Redis, Server as _};
use crate::service::check;
use crate::service::site::{Site, Stamps};

/// What an installation may take until it reads everything again: the session timeout that tests
/// use, and thirty seconds.
pub(super) const RECOVERY: Duration = Duration::from_secs(6 + 30);

/// How long something is given before it is looked at again.
pub(super) const SETTLE: Duration = Duration::from_millis(300);

/// How long halted instances are given until what they sent has arrived: also where the broker has to wait for
/// its turn, and well below the six seconds after which the group gives them up.
const ARRIVED: Duration = Duration::from_millis(1_500);

/// How long a fault waits at most until records flow, and how many that are.
const FLOW: Duration = Duration::from_secs(15);
const A_FLOW: i64 = 100;

/// How long there is much work for an instance that is to be replaced.
const BEATS_A_ZOMBIE: usize = 50;

/// How often a statement that the database gave up is tried.
const TRIES: usize = 20;

#[expect(clippy::disallowed_methods, reason = "how long a recovery takes is what is checked")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A run; `Ok` says that all of its plan came and all promises were kept. `defect`: the one that the service is
/// built and told to have.
pub(super) fn run(
    seed: u64,
    kills: usize,
    minutes: u64,
    defect: Option<&str>,
) -> Result<(), Failure> {
    // What instances see of the servers: over links that can be cut, where there can be such.
    let network = Network::make(u8::try_from(INSTANCES + 1).expect("few"));
    let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST, Network::servers);
    let ((kafka, bootstrap), postgres, redis) = std::thread::scope(|scope| {
        let kafka = scope.spawn(|| Kafka::start_at(address));
        let postgres = scope.spawn(Postgres::start_on_small_disk);
        let redis = Redis::start_at(address);
        let joined = "the server starts";
        (kafka.join().expect(joined), postgres.join().expect(joined), redis)
    });
    let mut site = Site::new(&kafka, &postgres, &redis, Stamps::Producer);
    let cutter = Cutter::start(address, postgres.port());
    let through = format!("{address}:{}/", cutter.port);
    let direct = format!("127.0.0.1:{}/", postgres.port());
    site.set("POSTGRES_URL", &site.database.replace(&direct, &through));
    site.set("KAFKA_BOOTSTRAP_SERVERS", &bootstrap);
    site.set("REDIS_URL", &redis.url_at(address));
    site.set("BRIDGE__SECURITY__ALLOW_PLAINTEXT", "kafka,postgres,redis,websocket");
    site.set("BRIDGE__USERS__IDLE_AFTER", "5s");
    site.set("BRIDGE__SHUTDOWN__DEADLINE", "10s");
    if let Some(defect) = defect {
        site.set("BRIDGE_DEFECT", defect);
    }
    if retention::is_short(seed) {
        retention::shorten(&mut site);
    }
    let fleet = Fleet::start(&site, network.as_ref());
    let mut run = Run {
        site: &site,
        cutter: &cutter,
        fleet,
        operators: Operators::default(),
        keeps_briefly: retention::is_short(seed),
        deleted: None,
        started: now(),
        plan: plan(seed, kills),
        asked: kills,
        steps: 0,
        kills: 0,
        left_out: BTreeSet::new(),
        lines: Vec::new(),
    };
    run.say(&format!("CHAOS_SEED={seed} CHAOS_KILLS={kills} CHAOS_MINUTES={minutes}"));
    let ended = catch_unwind(AssertUnwindSafe(|| run.all(seed, minutes)));
    ended.map_err(|failure| {
        run.keep(seed);
        let texts =
            [failure.downcast_ref::<String>().map(String::as_str), failure.downcast_ref().copied()];
        Failure::Promise(texts.into_iter().flatten().next().unwrap_or("no text").to_owned())
    })?;
    match run.is_whole() {
        true => Ok(()),
        false => Err(Failure::TimeOver(run.extent())),
    }
}

/// A run in progress.
pub(super) struct Run<'s> {
    pub(super) site: &'s Site<'s>,
    pub(super) cutter: &'s Cutter,
    pub(super) fleet: Fleet<'s>,
    pub(super) operators: Operators,
    /// Whether stored records are kept for a short time only.
    keeps_briefly: bool,
    /// The output topic that is away.
    deleted: Option<Output>,
    pub(super) started: Instant,
    pub(super) plan: Vec<Step>,
    /// Kills that were asked for.
    pub(super) asked: usize,
    /// Steps and kills that have come.
    pub(super) steps: usize,
    pub(super) kills: usize,
    /// Why some kinds of faults did not come, where they are not permitted.
    pub(super) left_out: BTreeSet<&'static str>,
    pub(super) lines: Vec<String>,
}

impl Run<'_> {
    fn all(&mut self, seed: u64, minutes: u64) {
        let traffic = Traffic::default();
        let site = self.site;
        let (sent, healed) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| traffic.run(site.kafka, &site.topics.events, seed));
            let ends = traffic.ends();
            self.faults(Duration::from_secs(minutes * 60), &traffic);
            let healed = now();
            drop(ends);
            (sending.join().expect("sending does not panic"), healed)
        });
        self.drain(healed);
        self.operators_finish();
        // Whoever found that users have new homes began anew.
        self.drain(now());
        site.wait_caught_up();
        self.fleet.end();
        self.say("all instances have ended in order; checking");
        // What the silent proxy still holds open belongs to nobody any more.
        site.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        if self.keeps_briefly {
            self.bases_lead_to_states();
        }
        check::tables(site);
        check::topics_and_replays(site, &neuros::Policy::default());
        check::at_rest(site);
        self.nobody_raised_an_alarm();
        self.everything_is_there(&sent);
        self.summary(seed, sent.len());
    }

    fn faults(&mut self, limit: Duration, traffic: &Traffic) {
        for step in self.plan.clone() {
            sleep(step.pause);
            if self.started.elapsed() > limit {
                self.say("the time is over before all faults have come");
                break;
            }
            if step.in_flow {
                self.wait_for_flow();
            }
            self.fleet.revive();
            if !self.keeps_briefly {
                self.operators.kill_expansions();
            }
            let said = self.inflict(step.fault, traffic).unwrap_or_else(|why| {
                self.left_out.insert(why);
                format!("left out: {why}, ")
            });
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
        let servers = [
            ("Kafka", self.site.kafka.runs()),
            ("PostgreSQL", self.site.postgres.runs()),
            ("Redis", self.site.redis.runs()),
        ];
        let away = servers.iter().filter(|(_, runs)| !runs).map(|(name, _)| format!("no {name}, "));
        let away: String = away.collect();
        let instances = self.fleet.conditions().join("\n");
        self.say(&format!("no records flow; {away}instances:\n{instances}"));
    }

    /// Does what the plan says; gives what is to be told of it, or why it cannot be done here.
    fn inflict(&mut self, fault: Fault, traffic: &Traffic) -> Result<String, &'static str> {
        let site = self.site;
        let (kafka, postgres, redis) = (site.kafka, site.postgres, site.redis);
        match fault {
            Fault::Kill(instance) => {
                self.fleet.kill(instance);
                self.kills += 1;
            }
            Fault::Terminate(instance) => {
                return Ok(format!("{}, ", self.fleet.terminate(instance)));
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
            Fault::Leave => return Ok(format!("{}, ", self.fleet.leave())),
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
            Fault::FillDisk => postgres.disk().ok_or("mounting is not permitted")?.fill(),
            Fault::FreeDisk => self.free_disk(),
            Fault::Checkpoints(harm, whose) => self.harm_checkpoints(harm, whose, traffic.group()),
            Fault::Unplug(instance) => {
                if !self.fleet.unplug(instance) {
                    return Err("there can be no network of its own");
                }
            }
            Fault::Plug(instance) => self.fleet.plug(instance),
            Fault::Silence => self.cutter.fall_silent(),
            Fault::Speak => self.cutter.speak(),
            Fault::Operators(order) => return Ok(self.operate(order, traffic.group())),
        }
        Ok(String::new())
    }

    /// An output topic, and how many partitions it is made with: with another number a user's messages would
    /// lie on two of them, and in no order.
    fn topic(&self, output: Output) -> (&str, i32) {
        let topics = &self.site.topics;
        match output {
            Output::Transitions => (&topics.transitions, 3),
            Output::Alerts => (&topics.alerts, 1),
            Output::DeadLetters => (&topics.dead_letters, 1),
        }
    }

    /// Deletes an output topic. Nobody writes while it is read for the last time: what was taken by
    /// the broker and deleted is no loss of ours.
    fn delete_topic(&mut self, output: Output) {
        let topic = self.topic(output).0.to_owned();
        self.fleet.all_halted(|| {
            sleep(ARRIVED);
            self.site.keep_messages(&topic);
            self.site.kafka.delete_topic(&topic);
        });
        self.deleted = Some(output);
    }

    fn create_topic(&mut self, output: Output) {
        let (topic, partitions) = self.topic(output);
        self.site.kafka.topic(topic, partitions, &[]);
        self.deleted = None;
    }

    pub(super) fn free_disk(&self) {
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
        self.patiently(&sql);
    }

    /// Runs a statement that the database may give up.
    pub(super) fn patiently(&self, sql: &str) {
        let mut complaint = String::new();
        for _ in 0..TRIES {
            // It may lock users in another order than the service and be the one to give way.
            match self.site.postgres.try_psql(&self.site.database, sql) {
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
            if took >= RECOVERY {
                // It says more than that something waits.
                self.nobody_raised_an_alarm();
                panic!("after {took:?} a lag of {lag} is left, or somebody is not ready");
            }
            self.fleet.revive();
            sleep(SETTLE);
        }
    }

    /// Says it past the test harness: who waits for minutes wants to see something.
    pub(super) fn say(&mut self, text: &str) {
        let line = format!("chaos {:7.1} s  {text}", self.started.elapsed().as_secs_f64());
        writeln!(std::io::stderr(), "{line}").expect("there is a standard error");
        self.lines.push(line);
    }
}
