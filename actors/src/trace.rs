//! Following single records from the log to what leaves for them: spans, for whoever collects them. They never say
//! whose a record is or what it holds, and nothing that is decided, stored or replayed depends on them.

use std::sync::Arc;

use tracing::span::EnteredSpan;
use tracing::{Instrument as _, Span};

use crate::capacity::FOLLOWED_IN_BATCH;
use crate::incoming::Incoming;
use crate::lane::Lane;
use crate::log::Outgoing;
use crate::rows::Sink;

/// The target of all spans that are collected, and of nothing else.
pub const SPANS: &str = "biometric_bridge::spans";

/// Decides which records are followed, and knows how others continue a trace; must not block.
///
/// A trace is named as others name it: by a W3C `traceparent`, which means nothing to a lane.
pub trait Tracer: Send + Sync {
    /// Follows a record of a lane; `None` when it is not followed, which must cost next to nothing, or when it would be
    /// and its batch has no room for more: that is counted.
    fn follow(&self, lane: Lane, incoming: &Incoming<'_>, has_room: bool) -> Option<Followed>;

    /// A batch of so many records, with those of them that are followed; it belongs to none of their traces.
    fn batch(&self, lane: Lane, records: usize, followed: &[Followed]) -> Span;

    /// A message that continues `trace` leaves; a disabled span when nobody follows it.
    fn leaving(&self, sink: Sink, trace: &str) -> Span;

    /// How others continue from a span of ours.
    fn continued(&self, span: &Span) -> Option<Arc<str>>;
}

/// Follows nothing.
pub struct Untraced;

impl Tracer for Untraced {
    fn follow(&self, _: Lane, _: &Incoming<'_>, _: bool) -> Option<Followed> {
        None
    }

    fn batch(&self, _: Lane, _: usize, _: &[Followed]) -> Span {
        Span::none()
    }

    fn leaving(&self, _: Sink, _: &str) -> Span {
        Span::none()
    }

    fn continued(&self, _: &Span) -> Option<Arc<str>> {
        None
    }
}

/// A record that is followed.
#[derive(Clone)]
pub struct Followed {
    /// From its arrival to its commit.
    pub span: Span,
    /// How others continue it.
    pub trace: Arc<str>,
    /// The trace that it came with.
    pub producer: Option<Arc<str>>,
}

impl Followed {
    fn step(&self) -> Span {
        tracing::info_span!(target: SPANS, parent: &self.span, "step")
    }

    fn alert(&self) -> Span {
        tracing::info_span!(target: SPANS, parent: &self.span, "alert")
    }

    fn ingest(&self) -> Span {
        tracing::info_span!(target: SPANS, parent: &self.span, "ingest")
    }

    fn commit(&self, batch: &Span) -> Span {
        let commit = tracing::info_span!(target: SPANS, parent: &self.span, "commit");
        commit.follows_from(batch);
        commit
    }
}

/// The trace that a record belongs to.
#[derive(Clone, Default)]
pub struct Trace {
    /// As its producer has named it.
    pub traceparent: Option<Box<str>>,
    /// As it is followed here, if it is.
    pub followed: Option<Box<Followed>>,
}

impl Trace {
    /// Its user evaluates the record; what is logged meanwhile belongs to the trace.
    pub(crate) fn step(&self) -> Option<EnteredSpan> {
        let entered = self.followed.as_ref()?.step().entered();
        tracing::debug!("a record that is followed is evaluated");
        Some(entered)
    }

    /// A change of an alert that the record has led to is made ready to be written and to leave.
    pub(crate) fn alert(&self) -> Option<EnteredSpan> {
        Some(self.followed.as_ref()?.alert().entered())
    }

    /// The trace that a message about it continues.
    pub(crate) fn continued(&self) -> Option<Arc<str>> {
        match &self.followed {
            Some(followed) => Some(Arc::clone(&followed.trace)),
            None => self.traceparent.as_deref().map(Arc::from),
        }
    }
}

/// The spans of a batch on its way; none for a batch of which nothing is followed.
#[derive(Default)]
pub(crate) struct Trail {
    followed: Vec<Followed>,
    /// Of each, until the batch is closed.
    ingests: Vec<Span>,
    batch: Option<Span>,
}

impl Trail {
    /// Follows a record, if it is to be followed.
    pub(crate) fn take(
        &mut self,
        tracer: &dyn Tracer,
        lane: Lane,
        incoming: &Incoming<'_>,
    ) -> Option<Box<Followed>> {
        let has_room = self.followed.len() < FOLLOWED_IN_BATCH;
        let followed = tracer.follow(lane, incoming, has_room)?;
        self.ingests.push(followed.ingest());
        self.followed.push(followed.clone());
        Some(Box::new(followed))
    }

    /// The batch goes to the router.
    pub(crate) fn close(&mut self, tracer: &dyn Tracer, lane: Lane, records: usize) {
        self.ingests.clear();
        if !self.followed.is_empty() {
            self.batch = Some(tracer.batch(lane, records, &self.followed));
        }
    }

    /// The commit of the batch, in its own trace and in that of each record: the same transaction is theirs.
    pub(crate) async fn committing<T>(&self, commit: impl Future<Output = T>) -> T {
        let Some(batch) = &self.batch else { return commit.await };
        let own = tracing::info_span!(target: SPANS, parent: batch, "commit");
        let of_records: Vec<Span> =
            self.followed.iter().map(|followed| followed.commit(batch)).collect();
        let done = commit.instrument(own).await;
        drop(of_records);
        done
    }
}

/// Messages on their way to a sink.
pub(crate) struct Leaving(Vec<Span>);

impl Leaving {
    /// Messages begin to leave; each says which trace it continues: its own span, or what its record came with.
    pub(crate) fn begin(tracer: &dyn Tracer, sink: Sink, messages: &mut [Outgoing]) -> Self {
        let mut spans = Vec::new();
        for message in messages {
            let Some(trace) = message.trace.take() else { continue };
            let span = tracer.leaving(sink, &trace);
            let continued = tracer.continued(&span).unwrap_or(trace);
            message.headers.push((TRACEPARENT.to_owned(), Some(continued.as_bytes().to_vec())));
            if !span.is_disabled() {
                spans.push(span);
            }
        }
        Self(spans)
    }

    /// They are safe, or not all of them.
    pub(crate) fn end(self, all_are_safe: bool) {
        if !all_are_safe {
            for span in &self.0 {
                span.record("otel.status_code", "ERROR");
            }
        }
    }
}

/// The header of a message that names its trace (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

/// The trace that a message of ours says it belongs to.
pub fn trace_of(message: &[u8]) -> Option<Arc<str>> {
    #[derive(serde::Deserialize)]
    struct Named {
        traceparent: Option<Box<str>>,
    }
    let named: Named = serde_json::from_slice(message).ok()?;
    named.traceparent.map(Arc::from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::lane::Source;

    /// Follows everything; its spans reach nobody.
    #[derive(Default)]
    struct All {
        passed_over: AtomicUsize,
    }

    impl Tracer for All {
        fn follow(&self, _: Lane, _: &Incoming<'_>, has_room: bool) -> Option<Followed> {
            self.passed_over.fetch_add(usize::from(!has_room), Ordering::Relaxed);
            let followed = || Followed { span: Span::none(), trace: "ours".into(), producer: None };
            has_room.then(followed)
        }

        fn batch(&self, _: Lane, records: usize, followed: &[Followed]) -> Span {
            assert!(records >= followed.len());
            Span::none()
        }

        fn leaving(&self, _: Sink, _: &str) -> Span {
            Span::none()
        }

        fn continued(&self, _: &Span) -> Option<Arc<str>> {
            Some("span".into())
        }
    }

    #[test]
    fn of_a_batch_no_more_are_followed_than_it_can_name() {
        let incoming = Incoming {
            source: Source::Events,
            offset: 1,
            record_time: None,
            key: None,
            value: None,
            headers: &[],
        };
        let (all, mut trail) = (All::default(), Trail::default());
        let taken = (0..FOLLOWED_IN_BATCH + 3).filter_map(|_| trail.take(&all, Lane(0), &incoming));
        assert_eq!(taken.count(), FOLLOWED_IN_BATCH);
        assert_eq!(all.passed_over.load(Ordering::Relaxed), 3);
        trail.close(&all, Lane(0), 1_000);
        assert!(trail.ingests.is_empty() && trail.batch.is_some());
        let mut unfollowed = Trail::default();
        assert!(unfollowed.take(&Untraced, Lane(0), &incoming).is_none());
        unfollowed.close(&Untraced, Lane(0), 1_000);
        assert!(unfollowed.batch.is_none());
    }

    #[test]
    fn a_message_leaves_with_its_span_or_with_what_its_record_came_with() {
        let message = || Outgoing { trace: Some("theirs".into()), ..Outgoing::default() };
        let header = |tracer: &dyn Tracer, message: Outgoing| {
            let mut messages = [message];
            Leaving::begin(tracer, Sink::Alerts, &mut messages).end(true);
            let [message] = messages;
            assert!(message.trace.is_none());
            message.headers
        };
        let named = |trace: &str| vec![(TRACEPARENT.to_owned(), Some(trace.as_bytes().to_vec()))];
        assert_eq!(header(&All::default(), message()), named("span"));
        assert_eq!(header(&Untraced, message()), named("theirs"));
        assert_eq!(header(&All::default(), Outgoing::default()), []);
    }

    #[test]
    fn what_a_stored_message_belongs_to_is_read_from_it() {
        let read = |text: &str| trace_of(text.as_bytes());
        assert_eq!(read(r#"{"n":1,"traceparent":"00-a"}"#).as_deref(), Some("00-a"));
        assert_eq!(read(r#"{"n":1,"traceparent":null}"#), None);
        assert_eq!(read(r#"{"n":1}"#), None);
        assert_eq!(read("no JSON"), None);
    }
}
