//! Many clients of sockets on one thread, as cheap as clients can be, so that what they measure is the server: they
//! count and time what comes, answer pings, and read nothing else.

use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use super::a_second;
use crate::durable::clock;

/// Nothing may come for so long.
const STANDSTILL: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Clients.
pub(super) struct Crowd {
    runtime: Runtime,
    seen: Arc<Mutex<Seen>>,
}

/// What has come to all of them.
struct Seen {
    came: Came,
    piece: Vec<u8>,
    sockets: usize,
    /// Those that were closed.
    ended: usize,
    /// Messages of users from this one on are timed …
    timed: u64,
    /// … and this is when each was sent.
    sent: Vec<Instant>,
}

/// What came since it was last forgotten.
pub(super) struct Came {
    /// Mode changes and alerts.
    pub(super) messages: u64,
    /// Mode changes among them.
    changes: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    /// What the first of the clients had.
    pub(super) kept: Vec<String>,
    /// Microseconds from when a mode change was sent.
    pub(super) times: Histogram<u64>,
}

impl Came {
    fn nothing() -> anyhow::Result<Self> {
        let longest = u64::try_from(STANDSTILL.as_micros())?;
        let times = Histogram::new_with_bounds(1, longest, 3)?;
        Ok(Self { messages: 0, changes: 0, first: None, last: None, kept: Vec::new(), times })
    }

    /// Messages a second, from the first to the last.
    pub(super) fn rate(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => a_second(self.messages, first, last),
            _ => 0.0,
        }
    }
}

/// Whether a message is a mode change.
pub(super) fn is_change(text: &str) -> bool {
    is_of(text, "mode_switch")
}

/// Whether a message is of this type. Types stand near its beginning.
fn is_of(text: &str, kind: &str) -> bool {
    let Some((_, behind)) = text.split_once("\"type\":\"") else { return false };
    behind.starts_with(kind)
}

impl Crowd {
    pub(super) fn new() -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let seen = Seen {
            came: Came::nothing()?,
            piece: vec![0; PIECE],
            sockets: 0,
            ended: 0,
            timed: u64::MAX,
            sent: Vec::new(),
        };
        Ok(Self { runtime, seen: Arc::new(Mutex::new(seen)) })
    }

    /// Adds a client on a socket that is open.
    pub(super) fn add(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nonblocking(true)?;
        let stream = {
            let _entered = self.runtime.enter();
            tokio::net::TcpStream::from_std(stream)?
        };
        let which = self.seen().sockets;
        self.seen().sockets += 1;
        let seen = Arc::clone(&self.seen);
        self.runtime.spawn(async move {
            // However it ends: nobody has asked it to.
            follow(stream, &seen, which == 0).await.ok();
            seen.lock().unwrap_or_else(PoisonError::into_inner).ended += 1;
        });
        Ok(())
    }

    /// Whether all of them are there still.
    pub(super) fn is_whole(&self) -> bool {
        self.seen().ended == 0
    }

    /// Begins to count anew.
    pub(super) fn forget(&self) -> anyhow::Result<()> {
        self.seen().came = Came::nothing()?;
        Ok(())
    }

    /// From now on mode changes are timed, of this user and of those whose numbers follow, each sent in its turn.
    pub(super) fn time_from(&self, user: u64) {
        self.seen().timed = user;
    }

    /// When the next of them was sent.
    pub(super) fn is_sent(&self, at: Instant) {
        self.seen().sent.push(at);
    }

    /// Waits until so many mode changes have come to all of them together.
    pub(super) fn wait(&self, changes: u64) -> anyhow::Result<()> {
        let (mut moved, mut before) = (clock::now(), 0);
        loop {
            let (came, ended) = {
                let seen = self.seen();
                (seen.came.changes, seen.ended)
            };
            if came >= changes {
                return Ok(());
            }
            anyhow::ensure!(ended == 0, "{ended} sockets were closed");
            if came > before {
                (moved, before) = (clock::now(), came);
            }
            let waited = clock::now().saturating_duration_since(moved);
            anyhow::ensure!(waited < STANDSTILL, "{came} of {changes} mode changes have come");
            std::thread::sleep(PAUSE);
        }
    }

    /// What came since it was last forgotten.
    pub(super) fn came(&self) -> anyhow::Result<Came> {
        let nothing = Came::nothing()?;
        Ok(std::mem::replace(&mut self.seen().came, nothing))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a socket to its end.
async fn follow(
    stream: tokio::net::TcpStream,
    seen: &Mutex<Seen>,
    keeps: bool,
) -> anyhow::Result<()> {
    let mut unread = Vec::new();
    loop {
        stream.readable().await?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { came, piece, timed, sent, .. } = &mut *seen;
        let read = match stream.try_read(piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        let at = clock::now();
        unread.extend_from_slice(piece.get(..read).unwrap_or_default());
        let mut begin = 0;
        while let Some((opcode, payload, end)) = frame(unread.get(begin..).unwrap_or_default()) {
            match opcode {
                TEXT => {
                    let text = std::str::from_utf8(payload).context("a text is none")?;
                    came.note(text, at, keeps, (*timed, sent));
                }
                // An empty one, under the mask of zeros.
                PING => drop(stream.try_write(&[0x8a, 0x80, 0, 0, 0, 0])?),
                _ => return Ok(()),
            }
            begin += end;
        }
        unread.drain(..begin);
    }
}

const TEXT: u8 = 1;
const PING: u8 = 9;

/// The first frame of a server, if it is whole: its opcode, what is in it, and where it ends (RFC 6455, section 5.2).
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, head) = match second {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        length => (u64::from(length), 2),
    };
    let end = usize::try_from(length).ok()?.checked_add(head)?;
    Some((first & 0x0f, bytes.get(head..end)?, end))
}

impl Came {
    fn note(&mut self, text: &str, at: Instant, keeps: bool, (timed, sent): (u64, &[Instant])) {
        let is_change = is_change(text);
        if !is_change && !is_of(text, "alert") {
            return;
        }
        self.messages += 1;
        self.first.get_or_insert(at);
        self.last = Some(at);
        if keeps {
            self.kept.push(text.to_owned());
        }
        if !is_change {
            return;
        }
        self.changes += 1;
        let user = text.split_once("\"user_id\":\"user_").and_then(|(_, behind)| behind.get(..6));
        let user: Option<u64> = user.and_then(|user| user.parse().ok());
        let place = user.and_then(|user| usize::try_from(user.checked_sub(timed)?).ok());
        if let Some(sent) = place.and_then(|place| sent.get(place)) {
            let took = at.saturating_duration_since(*sent).as_micros();
            self.times.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        for (length, head) in [
            (5_usize, vec![0x81, 5]),
            (300, vec![0x81, 126, 1, 44]),
            (70_000, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ] {
            let bytes = [head.clone(), vec![b'x'; length], vec![0x89, 0]].concat();
            let (opcode, payload, end) = frame(&bytes).expect("whole");
            assert_eq!((opcode, payload.len(), end), (TEXT, length, head.len() + length));
            assert!(frame(&bytes[..end - 1]).is_none(), "one byte is missing");
            assert_eq!(frame(&bytes[end..]), Some((PING, &[][..], 2)));
        }
    }

    #[test]
    fn messages_are_counted_by_their_type_and_changes_timed_by_their_user() {
        let mut came = Came::nothing().expect("a histogram");
        let sent = [clock::now(); 3];
        let at = sent[0] + Duration::from_millis(7);
        for text in [
            r#"{"message_id":"a","n":1,"type":"mode_switch","seq":1,"user_id":"user_000012"}"#,
            r#"{"message_id":"b","n":2,"type":"mode_switch","seq":1,"user_id":"user_000099"}"#,
            r#"{"message_id":"c","n":1,"id":"d","type":"alert","user_id":"user_000012"}"#,
            r#"{"type":"status","user_id":null,"status":"fresh"}"#,
        ] {
            came.note(text, at, true, (11, &sent));
        }
        assert_eq!((came.messages, came.changes, came.kept.len()), (3, 2, 3));
        assert_eq!(came.times.len(), 1);
        assert!((7_000..7_010).contains(&came.times.max()), "{}", came.times.max());
    }
}
