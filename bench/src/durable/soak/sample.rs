//! What is seen of the service at one moment of the soak, from outside and from its /metrics.

use std::fmt;
use std::io::{BufWriter, Write as _};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::durable::clock;
use crate::durable::database::Database;
use crate::durable::service::{LANES, Service};
use crate::durable::setup::Setup;

/// One look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    seen: Seen,
    /// Bytes of the service in memory.
    pub(super) resident: u64,
    /// Its open file descriptors.
    pub(super) files: u64,
    /// Users in its memory.
    pub(super) live: u64,
    /// All lanes run.
    pub(super) runs: bool,
}

/// What was seen beside the service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Since the begin.
    pub(super) time: Duration,
    /// Events handed to the producer.
    pub(super) sent: u64,
    /// Events applied and committed.
    pub(super) applied: u64,
    /// PostgreSQL is halted.
    pub(super) halted: bool,
    pub(super) sizes: Sizes,
}

impl Deref for Sample {
    type Target = Seen;

    fn deref(&self) -> &Seen {
        &self.seen
    }
}

/// Bytes on the disk; measured less often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) database: u64,
    pub(super) topics: u64,
    /// All of the run.
    pub(super) disk: u64,
}

impl Sizes {
    pub(super) fn of(setup: &Setup, database: &mut Database) -> anyhow::Result<Self> {
        let size = "SELECT pg_database_size(current_database())";
        Ok(Self {
            database: database.number(size)?.cast_unsigned(),
            topics: on_disk(&setup.folder().join("kafka")),
            disk: on_disk(setup.folder()),
        })
    }
}

impl Sample {
    pub(super) fn take(service: &Service, seen: Seen) -> anyhow::Result<Self> {
        // Before asking, which opens a connection.
        let files = std::fs::read_dir(format!("/proc/{}/fd", service.id()))?.count();
        let resident = clock::resident(service.id())?;
        let metrics = service.metrics()?;
        let running = format!("biometric_lanes{{condition=\"running\"}} {LANES}\n");
        Ok(Self {
            seen,
            resident,
            files: u64::try_from(files)?,
            live: sum(&metrics, "biometric_users_live")?,
            runs: metrics.contains(&running),
        })
    }

    pub(super) fn lag(&self) -> u64 {
        self.sent.saturating_sub(self.applied)
    }
}

const MEBIBYTE: u64 = 1 << 20;

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} s  applied {:>9}  lag {:>6}  users {:>6}  memory {:>4} MiB  files {:>3}  \
             database {:>5} MiB  topics {:>4} MiB  disk {:>5} MiB",
            self.time.as_secs(),
            self.applied,
            self.lag(),
            self.live,
            self.resident / MEBIBYTE,
            self.files,
            self.sizes.database / MEBIBYTE,
            self.sizes.topics / MEBIBYTE,
            self.sizes.disk / MEBIBYTE
        )
    }
}

/// The sum of a metric's series.
pub(super) fn sum(metrics: &str, name: &str) -> anyhow::Result<u64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' '))?.map(|(_, value)| value)
    });
    let values: Vec<u64> = values
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("the metric {name} is no count"))?;
    anyhow::ensure!(!values.is_empty(), "there is no metric {name}");
    Ok(values.into_iter().sum())
}

/// Bytes that a folder takes; what goes meanwhile does not count.
fn on_disk(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(its) if its.is_dir() => on_disk(&entry.path()),
        Ok(its) => its.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}

pub(super) fn write(samples: &[Sample], file: &Path) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    writeln!(
        out,
        "seconds,sent,applied,lag,resident_bytes,files,live_users,all_lanes_run,halted,\
         database_bytes,topics_bytes,disk_bytes"
    )?;
    for sample in samples {
        writeln!(
            out,
            "{:.1},{},{},{},{},{},{},{},{},{},{},{}",
            sample.time.as_secs_f64(),
            sample.sent,
            sample.applied,
            sample.lag(),
            sample.resident,
            sample.files,
            sample.live,
            sample.runs,
            sample.halted,
            sample.sizes.database,
            sample.sizes.topics,
            sample.sizes.disk
        )?;
    }
    Ok(out.flush()?)
}
