//! The auditor: is told everything, checks it at once, counts it, and keeps the history. It changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use actors::cache::{Cache, CacheAway, CachedState};
use actors::dead_letter::Letter;
use actors::lane::{FenceToken, Lane, ModeCounts, Positions, Routing};
use actors::log::Outgoing;
use actors::observe::{BatchReport, CommitFailure, Condition, Looked, Observer, Published};
use actors::ports::Rules;
use actors::rows::Sink;
use async_trait::async_trait;
use tokio::time::Instant;

use super::leaks;
use super::leaving::Departure;
use super::reference::Reference;
use crate::world::store::tables::{Tables, Written};
use crate::world::witness::{Happening, Witness};

/// Lines of the history that are kept.
const LINES_MAX: usize = 400;

struct Books {
    reference: Reference,
    history: VecDeque<String>,
    lines: u64,
    hash: DefaultHasher,
    counted: BTreeMap<Happening, u64>,
    violations: Vec<String>,
}

#[derive(Default)]
pub(super) struct Auditor {
    began: OnceLock<Instant>,
    books: Mutex<Option<Books>>,
}

impl Auditor {
    pub(super) fn begin(&self, reference: Reference) {
        let _again = self.began.set(Instant::now());
        *self.books.lock().unwrap() = Some(Books {
            reference,
            history: VecDeque::new(),
            lines: 0,
            hash: DefaultHasher::new(),
            counted: BTreeMap::new(),
            violations: Vec::new(),
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Books) -> T) -> T {
        work(self.books.lock().unwrap().as_mut().unwrap())
    }

    fn millis(&self) -> u128 {
        self.began.get().map_or(0, |began| began.elapsed().as_millis())
    }

    /// A line of the history.
    pub(super) fn note(&self, text: &str) {
        let line = format!("{:>6} ms  {text}", self.millis());
        self.with(|books| {
            books.hash.write(line.as_bytes());
            books.lines += 1;
            books.history.push_back(line);
            if books.history.len() > LINES_MAX {
                books.history.pop_front();
            }
        });
    }

    fn check(&self, checked: Result<(), String>) {
        if let Err(problem) = checked {
            self.violated(problem);
        }
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.with(|books| books.violations.clone())
    }

    pub(super) fn has_violations(&self) -> bool {
        self.with(|books| !books.violations.is_empty())
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Reference) -> T) -> T {
        self.with(|books| look(&books.reference))
    }

    /// An operator gives dead letters up.
    pub(super) fn given_up(&self, letters: impl Iterator<Item = Letter>) {
        self.with(|books| books.reference.given_up.extend(letters));
    }

    /// Something that happens too often for the history.
    fn count(&self, what: Happening) {
        self.with(|books| *books.counted.entry(what).or_default() += 1);
    }

    pub(super) fn history(&self) -> (u64, Vec<String>) {
        self.with(|books| (books.hash.finish(), books.history.iter().cloned().collect()))
    }

    /// How often what happened.
    pub(super) fn tally(&self) -> BTreeMap<String, u64> {
        self.with(|books| {
            let mut tally = books.reference.counted.clone();
            for (what, count) in &books.counted {
                *tally.entry(format!("{what:?}")).or_default() += count;
            }
            let people = books.reference.people.books.values();
            let late_arrivals = books.reference.judge.late_arrivals;
            for (what, count) in [
                ("revisions", people.clone().map(|book| book.revisions).sum()),
                ("early records", people.clone().map(|book| book.early).sum()),
                ("late records", people.map(|book| book.late).sum()),
                ("records of a closed generation", late_arrivals),
                ("lines of the log", leaks::lines()),
            ] {
                tally.insert(what.to_owned(), count);
            }
            tally
        })
    }
}

impl Witness for Auditor {
    fn happened(&self, what: Happening, text: String) {
        self.note(&format!("{what:?} {text}"));
        self.count(what);
    }

    fn claimed(&self, lane: Lane, token: FenceToken) {
        self.with(|books| books.reference.claimed(lane, token));
    }

    fn writes(&self, tables: &Tables, written: &Written, process: usize) {
        let checked = self.with(|books| books.reference.writes(tables, written, process));
        let (lane, batch) = (written.lane, written.after.batch);
        self.check(checked.map_err(|problem| format!("lane {lane} batch {batch}: {problem}")));
        let after = &written.after;
        self.note(&format!(
            "lane {lane} batch {batch}: {} records, {} letters, {} in the outbox, upto {}/{}",
            written.records.len(),
            written.letters.len(),
            written.outbox.len(),
            after.positions.events,
            after.positions.by_user,
        ));
    }

    fn expanded(&self, tables: &Tables, routing: &Routing) {
        self.check(self.with(|books| books.reference.expanded(tables, routing)));
        let (generation, lanes) = (routing.generation, routing.partition_count);
        let text = format!("generation {generation} with {lanes} lanes");
        self.happened(Happening::Expanded, text);
    }

    fn adopted(&self, tables: &Tables, routing: &Routing) {
        self.with(|books| books.reference.adopted(tables, routing));
        self.happened(Happening::Adopted, format!("generation {}", routing.generation));
    }

    fn moved(&self, lane: Lane, token: FenceToken, sink: Sink, to: i64) {
        self.check(self.with(|books| books.reference.check_token(lane, token)));
        self.check(self.with(|books| books.reference.departures.moved(lane, sink, to)));
        self.note(&format!("lane {lane} {} moved to {to}", sink.as_str()));
    }

    fn read(&self, lane: Lane, at: Positions) {
        self.check(self.with(|books| books.reference.read(lane, at)));
    }

    fn published(&self, sink: Sink, outgoing: &Outgoing) {
        let truncated = outgoing.headers.iter().any(|(name, _)| name == "dlq.truncated");
        if truncated {
            self.happened(Happening::Truncated, String::new());
        }
        for (_, value) in outgoing.headers.iter().filter(|(name, _)| name.starts_with("dlq.")) {
            leaks::look("a header", value.as_deref().unwrap_or_default());
        }
        match self.with(|books| books.reference.departures.published(sink, outgoing)) {
            Ok(Departure::First) => self.happened(Happening::Published, sink.as_str().to_owned()),
            Ok(Departure::Again) => {
                self.happened(Happening::PublishedAgain, sink.as_str().to_owned());
            }
            Err(problem) => self.violated(problem),
        }
    }

    fn violated(&self, problem: String) {
        self.note(&format!("VIOLATED {problem}"));
        self.with(|books| books.violations.push(problem));
    }
}

/// What one process tells.
pub(super) struct Ear {
    pub auditor: Arc<Auditor>,
    pub process: usize,
    /// The generation that the process knows.
    generation: i32,
    in_flight_max: usize,
    live: Mutex<BTreeMap<Lane, usize>>,
    /// A delivery error was injected: a halt is due.
    pub may_halt: Arc<AtomicBool>,
}

impl Ear {
    pub(super) fn new(auditor: Arc<Auditor>, process: usize, rules: &Rules) -> Self {
        let (generation, in_flight_max) = (rules.routing.generation, rules.batch.in_flight_max);
        let (live, may_halt) = (Mutex::default(), Arc::default());
        Self { auditor, process, generation, in_flight_max, live, may_halt }
    }
}

impl Observer for Ear {
    fn lane(&self, lane: Lane, condition: Condition) {
        let text = format!("process {} lane {lane} {}", self.process, condition.as_str());
        self.auditor.note(&text);
        if let Condition::Waiting { problem, .. } | Condition::Halted { problem } = &condition {
            leaks::look("a condition", problem.as_bytes());
        }
        let newest = self.auditor.look(|reference| reference.judge.routing.generation);
        // Who learns of another generation ends by itself.
        if let Condition::Halted { problem } = condition
            && newest == self.generation
            && !self.may_halt.load(Ordering::Relaxed)
        {
            self.auditor.violated(format!("lane {lane} has stopped: {problem}"));
        }
    }

    fn claimed(&self, lane: Lane, _: ModeCounts, _: Positions) {
        self.live.lock().unwrap().remove(&lane);
    }

    fn committed(&self, report: &BatchReport) {
        // With one place it is always full.
        if self.in_flight_max > 1 && report.queued + 1 >= self.in_flight_max {
            self.auditor.count(Happening::QueueFull);
        }
    }

    fn commit_failed(&self, _: Lane, _: CommitFailure) {}

    fn rebuilt(&self, lane: Lane, users: usize) {
        self.auditor.happened(Happening::CheckpointRebuilt, format!("lane {lane}: {users}"));
    }

    fn live_users(&self, lane: Lane, users: usize) {
        let before = self.live.lock().unwrap().insert(lane, users).unwrap_or(0);
        if users < before {
            self.auditor.happened(Happening::Evicted, format!("lane {lane}: {before} to {users}"));
        }
    }

    fn published(&self, _: Lane, _: Sink, _: &Published) {}

    fn cached(&self, _: bool) {}

    fn quarantined(&self, lane: Lane) {
        self.auditor.happened(Happening::Quarantined, format!("lane {lane}"));
    }

    fn scrubbed(&self, lane: Lane, looked: Looked) {
        match looked {
            Looked::Agrees => {
                self.auditor.happened(Happening::Scrubbed, format!("lane {lane}"));
            }
            Looked::CheckpointUnreadable => {
                self.auditor.happened(Happening::ScrubbedUnreadable, format!("lane {lane}"));
            }
            _ => self.auditor.violated(format!("lane {lane} was scrubbed: {looked:?}")),
        }
    }
}

#[async_trait]
impl Cache for Ear {
    async fn keep(&self, states: Vec<CachedState>) -> Result<(), CacheAway> {
        for CachedState { user_id, version, body } in states {
            let checked =
                self.auditor.look(|reference| reference.cached(&user_id, version, &body.0));
            self.auditor.check(checked);
            self.auditor.happened(Happening::Cached, format!("{user_id} {version}"));
        }
        Ok(())
    }

    async fn forget(&self, _: &str) -> Result<(), CacheAway> {
        Ok(())
    }
}
