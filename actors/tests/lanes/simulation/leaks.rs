//! Looks for health data where none may be: in what lanes say in logs, conditions and headers. It keeps what
//! it finds and stops nothing.

use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use super::produce::{HEART_RATE_END, USER};

thread_local! {
    static FOUND: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static LINES: Cell<u64> = const { Cell::new(0) };
}

/// Who somebody is, or what was measured, if it can be read there.
pub(super) fn readable(bytes: &[u8]) -> Option<&'static str> {
    let marks = [USER, HEART_RATE_END, "heart_rate", "stress_level"];
    marks.into_iter().find(|mark| bytes.windows(mark.len()).any(|window| window == mark.as_bytes()))
}

/// I8: looks into something that anybody may read.
pub(super) fn look(what: &str, bytes: &[u8]) {
    if let Some(mark) = readable(bytes) {
        let text = String::from_utf8_lossy(bytes);
        let problem = format!("I8: {mark:?} can be read in {what}: {text}");
        FOUND.with_borrow_mut(|found| found.push(problem));
    }
}

/// A plan begins.
pub(super) fn forget() {
    FOUND.take();
    LINES.set(0);
}

/// What was found since.
pub(super) fn found() -> Vec<String> {
    FOUND.take()
}

/// How many lines of the log were looked into.
pub(super) fn lines() -> u64 {
    LINES.get()
}

/// From now on all lines of the log are looked into that anybody can switch on; but one for every commit,
/// which has numbers only.
pub(super) fn listen() {
    tracing::subscriber::set_global_default(Listener).unwrap();
}

struct Listener;

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && *metadata.level() <= LevelFilter::DEBUG
            && metadata.target().starts_with("actors")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        LINES.set(LINES.get() + 1);
        look("a line of the log", line.0.as_bytes());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of a line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A string always takes it.
        let _written = write!(self.0, "{field}={value:?} ");
    }
}
