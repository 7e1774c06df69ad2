//! Plays recordings: sends each record when its time has come, so much faster than life that every
//! recording takes the same while. The events themselves are what was recorded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::people::Recording;
use crate::kafka::{Event, Sender};
use crate::replay::Lines;

/// How far the playing has come.
#[derive(Default)]
pub struct Played {
    /// Records that are safe in the log.
    pub sent: AtomicU64,
}

/// Plays one recording within `length`.
///
/// # Errors
///
/// When a record cannot be sent.
pub async fn play(
    recording: Recording,
    sender: &Sender,
    length: Duration,
    played: &Played,
    stop: &CancellationToken,
) -> Result<(), String> {
    let (first, last) = span(recording);
    let recorded = u32::try_from((last - first).max(1) / 1_000).unwrap_or(u32::MAX).max(1);
    let began = Instant::now();
    let mut lines = Lines::numbered_from(0, recording.log.as_bytes());
    while let Some(numbered) = lines.read().map_err(|error| error.to_string())? {
        let line = numbered.line.map_err(|error| error.to_string())?;
        let time = line.record_time_ms().unwrap_or(first);
        let since = u32::try_from((time - first).max(0) / 1_000).unwrap_or(0);
        let due = length.mul_f64(f64::from(since) / f64::from(recorded));
        tokio::select! {
            () = tokio::time::sleep_until(began + due) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let value = line.value();
        let event = Event {
            key: Some(recording.name.as_bytes()),
            value: value.as_bytes(),
            timestamp_ms: Some(time),
            ..Event::default()
        };
        let sent = sender.send(event).await.map_err(|error| error.to_string())?;
        sent.delivered().await?;
        played.sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The record times of the first and the last record, ms since 1970.
fn span(recording: Recording) -> (i64, i64) {
    let mut lines = Lines::numbered_from(0, recording.log.as_bytes());
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    while let Ok(Some(numbered)) = lines.read() {
        if let Some(time) = numbered.line.ok().and_then(|line| line.record_time_ms()) {
            first = first.min(time);
            last = last.max(time);
        }
    }
    (first.min(last), last.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::people::RECORDINGS;

    #[test]
    fn every_recording_is_one_persons_and_has_a_span() {
        for recording in RECORDINGS {
            let (first, last) = span(*recording);
            assert!(first < last, "{}", recording.name);
            let owner = format!("\"user_id\":\"{}\"", recording.name);
            assert!(recording.log.lines().all(|line| line.contains(&owner)), "{}", recording.name);
        }
    }
}
