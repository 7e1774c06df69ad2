//! A log in memory: partitions of two topics, and what was published.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use actors::incoming::{Incoming, Origin, Raw};
use actors::lane::{Lane, PerSource, Positions, Source};
use actors::log::{Forwarder, LaneReader, Log, LogError, Outgoing, Publisher, Take};
use actors::rows::Sink;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use neuros::time::Timestamp;
use tokio::sync::Notify;

type Stored = (Option<Timestamp>, Raw);
type Partitions = BTreeMap<Lane, PerSource<Vec<Stored>>>;

#[derive(Default)]
pub(crate) struct MemoryLog {
    partitions: Mutex<Partitions>,
    pub published: Mutex<Vec<(Sink, Outgoing)>>,
    /// Sinks that do not answer.
    pub down: Mutex<Vec<Sink>>,
    /// The next forwarded record is acknowledged and lost.
    pub loses_next: Mutex<bool>,
    grown: Arc<Notify>,
}

impl MemoryLog {
    pub(crate) fn new(lanes: i32) -> Self {
        let log = Self::default();
        for lane in 0..lanes {
            log.partitions.lock().unwrap().insert(Lane(lane), PerSource::default());
        }
        log
    }

    /// Writes a message to `biometric.events`.
    pub(crate) fn write(&self, lane: i32, time: i64, value: &str) {
        let raw = Raw { key: None, value: Some(value.as_bytes().to_vec()), headers: Vec::new() };
        self.append(Lane(lane), Source::Events, Some(Timestamp::from_micros(time)), raw);
    }

    fn append(&self, lane: Lane, source: Source, time: Option<Timestamp>, raw: Raw) {
        let mut partitions = self.partitions.lock().unwrap();
        partitions.get_mut(&lane).unwrap().of_mut(source).push((time, raw));
        self.grown.notify_waiters();
    }

    /// Where each lane ends.
    pub(crate) fn ends(&self) -> Vec<(Lane, Positions)> {
        let partitions = self.partitions.lock().unwrap();
        let end = |records: &Vec<Stored>| i64::try_from(records.len()).unwrap();
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
}

/// The log as lanes get it.
#[async_trait(?Send)]
impl Log for SharedLog {
    async fn open(&self, lane: Lane, at: Positions) -> Result<Box<dyn LaneReader>, LogError> {
        Ok(Box::new(Reader { log: Arc::clone(&self.0), lane, at }))
    }

    async fn starts(&self, _: Lane) -> Result<Positions, LogError> {
        Ok(Positions::default())
    }

    async fn by_user_end(&self, lane: Lane) -> Result<i64, LogError> {
        let partitions = self.0.partitions.lock().unwrap();
        Ok(i64::try_from(partitions[&lane].by_user.len()).unwrap())
    }

    fn note_position(&self, _: Lane, _: i64) {}
}

/// A handle on the log.
pub(crate) struct SharedLog(pub Arc<MemoryLog>);

struct Reader {
    log: Arc<MemoryLog>,
    lane: Lane,
    at: Positions,
}

impl Reader {
    fn next(&mut self) -> Option<(Source, i64, Stored)> {
        let partitions = self.log.partitions.lock().unwrap();
        Source::ALL.into_iter().find_map(|source| {
            let at = self.at.of_mut(source);
            let stored = partitions[&self.lane].of(source).get(usize::try_from(*at).unwrap())?;
            *at += 1;
            Some((source, *at - 1, stored.clone()))
        })
    }
}

#[async_trait(?Send)]
impl LaneReader for Reader {
    async fn read(&mut self, take: &mut Take<'_>) -> Result<(), LogError> {
        let grown = Arc::clone(&self.log.grown);
        loop {
            let waiting = grown.notified();
            let mut taken = false;
            while let Some((source, offset, (record_time, raw))) = self.next() {
                taken = true;
                let headers: Vec<(&str, Option<&[u8]>)> =
                    raw.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
                let (key, value) = (raw.key.as_deref(), raw.value.as_deref());
                let incoming =
                    Incoming { source, offset, record_time, key, value, headers: &headers };
                if take(incoming) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
            if taken {
                return Ok(());
            }
            waiting.await;
        }
    }
}

#[async_trait]
impl Forwarder for MemoryLog {
    fn bytes_max(&self) -> usize {
        4 << 20
    }

    async fn forward(
        &self,
        home: Lane,
        record: &Raw,
        origin: Origin,
    ) -> Result<BoxFuture<'static, Result<(), LogError>>, LogError> {
        if std::mem::take(&mut *self.loses_next.lock().unwrap()) {
            return Ok(async { Ok(()) }.boxed());
        }
        let mut raw = record.clone();
        let added = origin.to_headers().into_iter();
        raw.headers.extend(added.map(|(name, value)| (name.to_owned(), Some(value.into_bytes()))));
        self.append(home, Source::ByUser, None, raw);
        Ok(async { Ok(()) }.boxed())
    }
}

#[async_trait]
impl Publisher for MemoryLog {
    fn bytes_max(&self, _: Sink) -> usize {
        4 << 20
    }

    async fn publish(&self, sink: Sink, messages: Vec<Outgoing>) -> Result<(), LogError> {
        if self.down.lock().unwrap().contains(&sink) {
            return Err(LogError::Away("down".to_owned()));
        }
        let messages = messages.into_iter().map(|outgoing| (sink, outgoing));
        self.published.lock().unwrap().extend(messages);
        Ok(())
    }
}
