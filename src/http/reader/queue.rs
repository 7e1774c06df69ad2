//! What waits to be sent on one socket, bounded in bytes, in messages and in time. What does not fit is not put into it.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::text::Text;

/// Messages that wait for one socket, at most.
const MESSAGES_MAX: usize = 4_096;

/// Messages that wait, in order.
#[derive(Default)]
pub(super) struct Queue {
    /// Each with the time by which it must be sent.
    texts: VecDeque<(Instant, Text)>,
    bytes: usize,
}

impl Queue {
    /// Puts one behind the others; says whether it fits.
    pub(super) fn push(&mut self, by: Instant, text: Text, bytes_max: usize) -> bool {
        let bytes = self.bytes + text.expose().len();
        let fits = bytes <= bytes_max && self.texts.len() < MESSAGES_MAX;
        if fits {
            self.bytes = bytes;
            self.texts.push_back((by, text));
        }
        fits
    }

    /// Puts one behind the others, however long it is, if half of the queue is free: that half is for what is live.
    pub(super) fn push_read(&mut self, by: Instant, text: &Text, bytes_max: usize) -> bool {
        let fits = self.bytes <= bytes_max / 2 && self.texts.len() <= MESSAGES_MAX / 2;
        if fits {
            self.bytes += text.expose().len();
            self.texts.push_back((by, Text::clone(text)));
        }
        fits
    }

    /// Whether the first has waited for too long: whom it is about may have been erased since.
    pub(super) fn is_late(&self) -> bool {
        self.texts.front().is_some_and(|(by, _)| *by <= Instant::now())
    }

    /// Takes the first.
    pub(super) fn pop(&mut self) -> Option<(Instant, Text)> {
        let (by, text) = self.texts.pop_front()?;
        self.bytes -= text.expose().len();
        if self.texts.is_empty() {
            // A socket that is idle holds no memory for when it was not.
            self.texts = VecDeque::new();
        }
        Some((by, text))
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
