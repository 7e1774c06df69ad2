//! The benchmark's clocks: the wall's, and what the kernel says that processes have used.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "events are made for the moment of the run")]
pub(super) fn micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Linux shows times to programs in hundredths of a second, whatever it counts in itself.
const TICK_MICROS: u64 = 10_000;

/// CPU time of a process and of its ended children.
pub(super) fn cpu(process: u32) -> anyhow::Result<Duration> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = fields(&line).context("/proc/PID/stat has another form")?;
    // utime, stime, cutime and cstime are fields 14 to 17; these begin with field 3.
    let ticks = fields.iter().skip(11).take(4).filter_map(|ticks| ticks.parse::<u64>().ok());
    Ok(Duration::from_micros(ticks.sum::<u64>() * TICK_MICROS))
}

/// The same of a process with all its children.
pub(super) fn cpu_of_family(parent: u32) -> anyhow::Result<Duration> {
    let children = children(parent);
    // One may end in between: then its parent has its time.
    let of_children = children.into_iter().filter_map(|child| cpu(child).ok());
    Ok(of_children.sum::<Duration>() + cpu(parent)?)
}

pub(super) fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let is_child = |process: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        fields(&line).is_some_and(|fields| fields.get(1).is_some_and(|its| *its == parent))
    };
    processes.filter(is_child).collect()
}

/// What stands behind the program's name, which may hold anything.
fn fields(line: &str) -> Option<Vec<&str>> {
    Some(line.rsplit_once(')')?.1.split_whitespace().collect())
}

/// Bytes of a process that are in memory.
pub(super) fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("/proc/PID/status has no VmRSS")?.trim().parse()?;
    Ok(kibibytes * 1_024)
}
