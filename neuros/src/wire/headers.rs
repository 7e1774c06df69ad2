//! What stands around a payload: a message's headers, and the attributes of a CloudEvent.

use std::borrow::Cow;

use super::payload::Envelope;
use super::timestamp::Stamp;
use crate::redact::redacted_debug;

/// The headers of a message that mean something here: those of a CloudEvent (Kafka protocol binding,
/// binary mode), and the trace that it belongs to.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a> {
    binary_cloud_event: bool,
    time: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
}

redacted_debug!(Headers<'a>);

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    /// Picks what decoding needs; of a header given twice the last counts.
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        let mut picked = Self::default();
        for (name, value) in headers {
            match name {
                "ce_specversion" => picked.binary_cloud_event = true,
                "ce_time" => picked.time = Some(value),
                "ce_source" => picked.source = Some(value),
                "traceparent" => picked.traceparent = Some(value),
                _ => {}
            }
        }
        picked
    }
}

/// What a CloudEvent says around its payload, for a payload that does not say it itself.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    /// `Some(None)` when there is a time of no accepted form.
    pub(super) stamp: Option<Option<Stamp>>,
    pub(super) source: Option<Cow<'a, str>>,
}

impl<'a> Headers<'a> {
    pub(super) fn is_binary_cloud_event(&self) -> bool {
        self.binary_cloud_event
    }

    /// The trace to continue: a `traceparent` as W3C Trace Context (version 00) writes it; one that
    /// is not so written is none, and no reason to reject the message.
    pub fn traceparent(&self) -> Option<&'a str> {
        let text = std::str::from_utf8(self.traceparent?).ok()?;
        let mut parts = text.split('-');
        let mut hexadecimal = |length: usize| {
            let part = parts.next()?;
            let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (part.len() == length && part.bytes().all(lower)).then_some(part)
        };
        let (version, trace) = (hexadecimal(2)?, hexadecimal(32)?);
        let (parent, _flags) = (hexadecimal(16)?, hexadecimal(2)?);
        let names_something = |id: &str| id.bytes().any(|digit| digit != b'0');
        let whole = version == "00" && parts.next().is_none();
        (whole && names_something(trace) && names_something(parent)).then_some(text)
    }

    pub(super) fn attributes(&self) -> Attributes<'a> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Attributes {
            stamp: self.time.map(|time| text(time).and_then(Stamp::from_text)),
            source: self.source.and_then(text).filter(|text| !text.is_empty()).map(Cow::Borrowed),
        }
    }
}

impl<'a> Envelope<'a> {
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes { stamp: self.time.stamp(), source: self.source.non_empty_text() }
    }
}
