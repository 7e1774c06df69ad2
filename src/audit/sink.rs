//! Where checkpoints go: a topic, and a file. Only ever added to, and nothing counts as written before it is
//! safe there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::kafka::{Event, Sender};
use crate::telemetry::UNFINISHED;

/// A place for checkpoints.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// Adds a line; the same one may come again when nobody knows whether it is there.
    ///
    /// # Errors
    ///
    /// Why it is not safe.
    async fn put(&self, signer: &str, line: &str) -> Result<(), String>;
}

/// The topic.
pub struct TopicSink(pub Sender);

#[async_trait]
impl Sink for TopicSink {
    fn name(&self) -> &'static str {
        "topic"
    }

    async fn put(&self, signer: &str, line: &str) -> Result<(), String> {
        let event =
            Event { key: Some(signer.as_bytes()), value: line.as_bytes(), ..Event::default() };
        let sent = self.0.send(event).await.map_err(|error| error.to_string())?;
        sent.delivered().await.map(drop)
    }
}

/// A file, which several processes may share.
pub struct FileSink(pub PathBuf);

#[async_trait]
impl Sink for FileSink {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn put(&self, _: &str, line: &str) -> Result<(), String> {
        let (path, line) = (self.0.clone(), format!("{line}\n"));
        let added = tokio::task::spawn_blocking(move || append(&path, line.as_bytes())).await;
        let added = added.map_err(|_| UNFINISHED.to_owned())?;
        added.map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

/// Adds a line to a file, and waits until it is on disk. Half a line that somebody was cut off in the middle
/// of was never safe, and goes first.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(path)?;
    file.lock()?;
    let whole = whole_lines(&mut file)?;
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    file.write_all(line)?;
    file.sync_all()
}

/// Bytes up to the end of the last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    const PIECE: u64 = 4_096;
    let mut end = file.metadata()?.len();
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        file.take(end - start).read_to_end(&mut piece)?;
        if let Some(place) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_half_a_line_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoints");
        append(&path, b"one\n").expect("added");
        append(&path, b"two\n").expect("added");
        let half = "x".repeat(10_000);
        std::fs::write(&path, format!("one\ntwo\n{half}")).expect("a file");
        append(&path, b"three\n").expect("added");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "one\ntwo\nthree\n");
        std::fs::write(&path, &half).expect("a file");
        append(&path, b"one\n").expect("added");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "one\n");
    }

    #[test]
    fn many_who_add_at_once_tear_no_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoints");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..25 {
                        append(path, format!("{writer} {number}\n").as_bytes()).expect("added");
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).expect("the file");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 100);
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_named() {
        let sink = FileSink(PathBuf::from("/nowhere/checkpoints"));
        let problem = sink.put("s", "line").await.expect_err("no folder");
        assert!(problem.starts_with("/nowhere/checkpoints: "), "{problem}");
    }
}
