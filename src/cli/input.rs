//! The logs that commands read, and how far they are in them. Never what stands in a log.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Failure;

/// A log that can be read, and what to call it.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) reader: Box<dyn BufRead>,
}

impl Input {
    /// Opens all files before any is read; standard input when there is none.
    pub(super) fn open_all(files: &[PathBuf]) -> Result<Vec<Self>, Failure> {
        if files.is_empty() {
            return Ok(vec![Self::standard()]);
        }
        files.iter().map(|path| Self::open(path)).collect()
    }

    fn standard() -> Self {
        Self { name: "standard input".to_owned(), reader: Box::new(BufReader::new(io::stdin())) }
    }

    /// Opens a file; `-` is standard input.
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::standard());
        }
        let file = File::open(path)
            .map_err(|source| Failure::NoInput { path: path.to_owned(), source })?;
        let reader = Box::new(BufReader::with_capacity(1 << 16, file));
        Ok(Self { name: path.display().to_string(), reader })
    }
}

/// How far we are, on a terminal's stderr.
pub(super) struct Progress {
    bar: ProgressBar,
    lines: u64,
    bytes: u64,
    stride: u64,
}

impl Progress {
    /// Lines between two updates: seldom enough to cost nothing.
    const STRIDE: u64 = 1 << 12;

    /// Updates with each line, where lines come slowly.
    pub(super) fn of_slow_lines(mut self) -> Self {
        self.stride = 1;
        self
    }

    pub(super) fn over(files: &[PathBuf]) -> Self {
        let sizes = files.iter().map(|file| file.metadata().map(|file| file.len()));
        let total: Option<u64> = sizes.map(Result::ok).sum();
        let bar = match total.filter(|&total| total > 0) {
            _ if !io::stderr().is_terminal() => ProgressBar::hidden(),
            Some(total) => ProgressBar::new(total)
                .with_style(style("{bar:32} {percent:>3} % {bytes_per_sec}, {eta} left, {msg}")),
            None => ProgressBar::no_length()
                .with_style(style("{spinner} {bytes} read, {bytes_per_sec}, {msg}")),
        };
        Self { bar, lines: 0, bytes: 0, stride: Self::STRIDE }
    }

    pub(super) fn advance(&mut self, bytes: usize) {
        self.lines += 1;
        self.bytes += bytes as u64;
        if self.lines.is_multiple_of(self.stride) {
            self.bar.set_message(format!("{} records", self.lines));
            self.bar.set_position(self.bytes);
        }
    }

    /// Lets `act` write to the terminal without the bar in its way.
    pub(super) fn suspend(&self, act: impl FnOnce()) {
        self.bar.suspend(act);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
