//! A log in memory: partitions of two topics whose offsets may have gaps, and what was published. What it
//! has acknowledged it keeps, unless retention takes it or the topic is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::incoming::{HEADER_OVERHEAD, Incoming, Origin, Raw};
use actors::lane::{Lane, PerSource, Positions, Source};
use actors::log::{LaneReader, Log, LogError, Outgoing, Take};
use actors::rows::Sink;
use async_trait::async_trait;
use neuros::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::chance::Chance;
use super::witness::{Happening, Witness};

/// A record as it lies in the log.
#[derive(Clone)]
pub(crate) struct Entry {
    pub offset: i64,
    pub time: Option<Timestamp>,
    pub raw: Raw,
    /// Bytes of all that came before it.
    before: usize,
}

#[derive(Default)]
struct Partition {
    /// Those below `start` nobody can read any more; whoever looks from outside still sees them.
    entries: Vec<Entry>,
    start: i64,
    end: i64,
    /// Of all entries, and of the largest of them.
    bytes: usize,
    bytes_max: usize,
}

impl Partition {
    /// The place of the first entry at or above an offset.
    fn place(&self, offset: i64) -> usize {
        self.entries.partition_point(|entry| entry.offset < offset)
    }

    /// The bytes of the entries before that place.
    fn bytes_before(&self, place: usize) -> usize {
        self.entries.get(place).map_or(self.bytes, |entry| entry.before)
    }

    /// Whether somebody can read on at an offset.
    fn check(&self, source: Source, lane: Lane, position: i64) -> Result<(), LogError> {
        let (topic, start, end) = (source.as_str().to_owned(), self.start, self.end);
        if position < start {
            return Err(LogError::BelowStart { topic, lane, position, start });
        }
        if position > end {
            return Err(LogError::AboveEnd { topic, lane, position, end });
        }
        Ok(())
    }
}

/// The bytes of a record, as a batch counts them.
fn bytes_of(raw: &Raw) -> usize {
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers = raw.headers.iter();
    let headers = headers.map(|(name, value)| name.len() + length(value) + HEADER_OVERHEAD);
    length(&raw.key) + length(&raw.value) + headers.sum::<usize>()
}

/// How the log behaves.
#[derive(Default)]
pub(super) struct Weather {
    /// Milliseconds that sending takes, at most.
    pub latency_max: u64,
    /// One offset in so many is followed by a gap; 0 for none.
    pub gap_one_in: u64,
    /// Records that one read gives, at most; 0 for all.
    pub read_max: u64,
    away: Option<Instant>,
    /// By sink: it fails after so many messages of the next request.
    pub fails_after: BTreeMap<Sink, usize>,
    /// Processes whose producers stand still, and those that are gone.
    pub frozen: BTreeSet<usize>,
    pub dead: BTreeSet<usize>,
}

pub(crate) struct MemoryLog {
    partitions: Mutex<BTreeMap<Lane, PerSource<Partition>>>,
    /// Origin partition and offset, and the home, of everything that was forwarded.
    landed: Mutex<BTreeSet<(i32, i64, Lane)>>,
    pub published: Mutex<Vec<(Sink, Outgoing)>>,
    /// Sinks that do not answer.
    pub down: Mutex<Vec<Sink>>,
    /// The next forwarded record is acknowledged and lost.
    pub loses_next: Mutex<bool>,
    /// Records that readers were given, and the bytes of their values.
    given: [AtomicUsize; 2],
    pub(super) weather: Mutex<Weather>,
    pub(super) changed: Notify,
    pub(crate) chance: Chance,
    pub(super) witness: Arc<dyn Witness>,
    grown: Notify,
}

impl MemoryLog {
    pub(crate) fn new(lanes: i32, seed: u64, witness: Arc<dyn Witness>) -> Self {
        let partitions = (0..lanes).map(|lane| (Lane(lane), PerSource::default()));
        Self {
            partitions: Mutex::new(partitions.collect()),
            landed: Mutex::default(),
            published: Mutex::default(),
            down: Mutex::default(),
            loses_next: Mutex::default(),
            given: Default::default(),
            weather: Mutex::default(),
            changed: Notify::new(),
            chance: Chance::of(seed),
            witness,
            grown: Notify::new(),
        }
    }

    /// Sending takes up to so many milliseconds, offsets have gaps, and reads give a few records each.
    pub(crate) fn rough(&self, latency_max: u64) {
        let mut weather = self.weather.lock().unwrap();
        (weather.latency_max, weather.gap_one_in, weather.read_max) = (latency_max, 8, 12);
    }

    pub(crate) fn away(&self, time: Duration) {
        self.weather.lock().unwrap().away = Some(Instant::now() + time);
    }

    /// The next request to a sink fails after so many messages.
    pub(crate) fn fail_after(&self, sink: Sink, messages: usize) {
        self.weather.lock().unwrap().fails_after.insert(sink, messages);
    }

    pub(crate) fn heal(&self) {
        let mut weather = self.weather.lock().unwrap();
        weather.away = None;
        weather.fails_after.clear();
        weather.frozen.clear();
        drop(weather);
        self.down.lock().unwrap().clear();
        self.changed.notify_waiters();
    }

    /// Writes a message to `biometric.events`.
    pub(crate) fn write(&self, lane: i32, time: i64, value: &str) {
        let raw = Raw { key: None, value: Some(value.as_bytes().to_vec()), headers: Vec::new() };
        self.append(Lane(lane), Source::Events, Some(Timestamp::from_micros(time)), raw);
    }

    pub(crate) fn append(&self, lane: Lane, source: Source, time: Option<Timestamp>, raw: Raw) {
        let one_in = self.weather.lock().unwrap().gap_one_in;
        let gap = if one_in > 0 && self.chance.one_in(one_in) { 2 } else { 0 };
        let mut partitions = self.partitions.lock().unwrap();
        let partition = partitions.get_mut(&lane).unwrap().of_mut(source);
        let (offset, before, bytes) = (partition.end, partition.bytes, bytes_of(&raw));
        partition.entries.push(Entry { offset, time, raw, before });
        partition.bytes += bytes;
        partition.bytes_max = partition.bytes_max.max(bytes);
        // As if a transaction's marker lay there, or what compaction took.
        partition.end = offset + 1 + gap;
        self.grown.notify_waiters();
    }

    pub(super) fn append_forwarded(&self, home: Lane, record: &Raw, origin: Origin) {
        let mut raw = record.clone();
        let added = origin.to_headers().into_iter();
        raw.headers.extend(added.map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))));
        self.append(home, Source::ByUser, None, raw);
        let is_new = self.landed.lock().unwrap().insert((origin.partition, origin.offset, home));
        let what = if is_new { Happening::Forwarded } else { Happening::ForwardedRepeat };
        let text = format!("from {}/{} to {home}", origin.partition, origin.offset);
        self.witness.happened(what, text);
    }

    /// Whether a record that was forwarded has reached its home's log.
    pub(crate) fn has_landed(&self, origin: i32, offset: i64, home: Lane) -> bool {
        self.landed.lock().unwrap().contains(&(origin, offset, home))
    }

    /// The entries with offsets from `from` up to, without it, `to`.
    pub(crate) fn entries(&self, lane: Lane, source: Source, from: i64, to: i64) -> Vec<Entry> {
        let partitions = self.partitions.lock().unwrap();
        let partition = partitions[&lane].of(source);
        partition.entries[partition.place(from)..partition.place(to)].to_vec()
    }

    /// How many they are.
    pub(crate) fn count(&self, lane: Lane, source: Source, from: i64, to: i64) -> usize {
        let partitions = self.partitions.lock().unwrap();
        let partition = partitions[&lane].of(source);
        partition.place(to).saturating_sub(partition.place(from))
    }

    /// Their bytes, and those of the largest that was ever there.
    pub(crate) fn bytes(&self, lane: Lane, source: Source, from: i64, to: i64) -> [usize; 2] {
        let partitions = self.partitions.lock().unwrap();
        let partition = partitions[&lane].of(source);
        let before = |offset| partition.bytes_before(partition.place(offset));
        [before(to).saturating_sub(before(from)), partition.bytes_max]
    }

    /// Retention takes what lies below an offset.
    pub(crate) fn retain_from(&self, lane: Lane, source: Source, start: i64) {
        self.partitions.lock().unwrap().get_mut(&lane).unwrap().of_mut(source).start = start;
        self.grown.notify_waiters();
    }

    /// A topic is made anew: empty, its next offsets at `start`.
    pub(crate) fn make_anew(&self, source: Source, start: i64) {
        for records in self.partitions.lock().unwrap().values_mut() {
            let partition = records.of_mut(source);
            if start < partition.end {
                // Other records will have their offsets.
                partition.entries.clear();
            }
            (partition.start, partition.end) = (start, start);
        }
        self.grown.notify_waiters();
    }

    /// Adds partitions up to so many.
    pub(crate) fn grow(&self, lanes: i32) {
        let mut partitions = self.partitions.lock().unwrap();
        for lane in (0..lanes).map(Lane) {
            partitions.entry(lane).or_default();
        }
    }

    /// How many partitions there are.
    pub(crate) fn lanes(&self) -> i32 {
        i32::try_from(self.partitions.lock().unwrap().len()).unwrap()
    }

    /// The offsets that the next records of a lane will have.
    pub(crate) fn next_offsets(&self, lane: Lane) -> Positions {
        let partitions = self.partitions.lock().unwrap();
        let records = &partitions[&lane];
        Positions { events: records.events.end, by_user: records.by_user.end }
    }

    /// Where each lane's newest records end.
    pub(crate) fn ends(&self) -> Vec<(Lane, Positions)> {
        let partitions = self.partitions.lock().unwrap();
        let end =
            |p: &Partition| p.entries.last().map_or(p.start, |last| p.start.max(last.offset + 1));
        let ends = partitions.iter().map(|(lane, records)| {
            (*lane, Positions { events: end(&records.events), by_user: end(&records.by_user) })
        });
        ends.collect()
    }

    /// What a sink was given, as JSON.
    pub(crate) fn messages(&self, sink: Sink) -> Vec<serde_json::Value> {
        let published = self.published.lock().unwrap();
        let of_sink = published.iter().filter(|(of, _)| *of == sink);
        of_sink
            .map(|(_, outgoing)| serde_json::from_slice(outgoing.value.as_ref().unwrap()).unwrap())
            .collect()
    }

    /// How many records readers were given so far, and how many bytes.
    pub(crate) fn given(&self) -> [usize; 2] {
        self.given.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn check(&self) -> Result<(), LogError> {
        let until = self.weather.lock().unwrap().away;
        if until.is_none_or(|until| Instant::now() >= until) {
            return Ok(());
        }
        self.witness.happened(Happening::LogAway, String::new());
        Err(LogError::Away("told so".to_owned()))
    }
}

/// A handle on the log.
pub(crate) struct SharedLog(pub Arc<MemoryLog>);

/// The log as lanes get it.
#[async_trait(?Send)]
impl Log for SharedLog {
    async fn open(&self, lane: Lane, at: Positions) -> Result<Box<dyn LaneReader>, LogError> {
        self.0.check()?;
        let reader = Reader { log: Arc::clone(&self.0), lane, at, holds_events: false };
        reader.check()?;
        Ok(Box::new(reader))
    }

    async fn starts(&self, lane: Lane) -> Result<Positions, LogError> {
        self.0.check()?;
        let partitions = self.0.partitions.lock().unwrap();
        let records = &partitions[&lane];
        Ok(Positions { events: records.events.start, by_user: records.by_user.start })
    }

    async fn by_user_end(&self, lane: Lane) -> Result<i64, LogError> {
        self.0.check()?;
        Ok(self.0.partitions.lock().unwrap()[&lane].by_user.end)
    }

    async fn stamps_on_arrival(&self) -> bool {
        true
    }

    async fn has_read_all(&self, lane: Lane, positions: Positions) -> Result<bool, LogError> {
        self.0.check()?;
        let partitions = self.0.partitions.lock().unwrap();
        let records = &partitions[&lane];
        Ok(positions.events >= records.events.end && positions.by_user >= records.by_user.end)
    }

    fn note_position(&self, _: Lane, _: i64) {}
}

struct Reader {
    log: Arc<MemoryLog>,
    lane: Lane,
    at: Positions,
    holds_events: bool,
}

impl Reader {
    fn check(&self) -> Result<(), LogError> {
        let partitions = self.log.partitions.lock().unwrap();
        let records = &partitions[&self.lane];
        let of = |source| records.of(source).check(source, self.lane, *self.at.of(source));
        Source::ALL.into_iter().try_for_each(of)
    }

    fn next(&mut self, is_rough: bool) -> Option<(Source, Entry)> {
        let partitions = self.log.partitions.lock().unwrap();
        let mut sources = Source::ALL;
        if is_rough && self.log.chance.one_in(2) {
            sources.reverse();
        }
        let holds_events = self.holds_events;
        let given = sources.into_iter().filter(|source| !holds_events || *source != Source::Events);
        given.into_iter().find_map(|source| {
            let partition = partitions[&self.lane].of(source);
            let at = self.at.of_mut(source);
            let entry = partition.entries.get(partition.place(*at))?;
            *at = entry.offset + 1;
            Some((source, entry.clone()))
        })
    }
}

#[async_trait(?Send)]
impl LaneReader for Reader {
    fn hold_events(&mut self) -> Result<(), LogError> {
        self.holds_events = true;
        Ok(())
    }

    async fn read(&mut self, take: &mut Take<'_>) -> Result<(), LogError> {
        let log = Arc::clone(&self.log);
        loop {
            self.log.check()?;
            // A client that finds itself elsewhere says only that: opening the log again tells how.
            self.check().map_err(|lost| LogError::Away(lost.to_string()))?;
            let waiting = log.grown.notified();
            let read_max = self.log.weather.lock().unwrap().read_max;
            let mut left = match read_max {
                0 => u64::MAX,
                most => self.log.chance.between(1, most),
            };
            let mut taken = false;
            while left > 0
                && let Some((source, Entry { offset, time, raw, .. })) = self.next(read_max > 0)
            {
                taken = true;
                left -= 1;
                let headers: Vec<(&str, Option<&[u8]>)> =
                    raw.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
                let (key, value) = (raw.key.as_deref(), raw.value.as_deref());
                let bytes = value.map_or(0, <[u8]>::len);
                for (count, more) in log.given.iter().zip([1, bytes]) {
                    count.fetch_add(more, Ordering::Relaxed);
                }
                let incoming =
                    Incoming { source, offset, record_time: time, key, value, headers: &headers };
                if take(incoming) == ControlFlow::Break(()) {
                    break;
                }
            }
            if taken {
                self.log.witness.read(self.lane, self.at);
                return Ok(());
            }
            waiting.await;
        }
    }
}
