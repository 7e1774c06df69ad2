//! What the machine did during a drain: samples of all processes by `perf`, and PostgreSQL's statements. Only
//! for whoever asks: a drain that is looked at so closely is slower, and no figure of it counts.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::Options;
use super::database::Database;

/// What PostgreSQL must be started with.
pub(super) const SETTING: &str = "shared_preload_libraries=pg_stat_statements";

/// The dearest statements first.
const STATEMENTS: &str = "COPY (
    SELECT calls, rows, round(total_exec_time::numeric, 1) AS total_ms,
        round((mean_exec_time * 1000)::numeric, 1) AS mean_us, wal_bytes,
        left(regexp_replace(query, '\\s+', ' ', 'g'), 120) AS statement
    FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
    WHERE datname = current_database() ORDER BY total_exec_time DESC LIMIT 40
    ) TO STDOUT (FORMAT csv, HEADER)";

/// A profile that is being taken.
pub(super) struct Profile {
    perf: Child,
    statements: PathBuf,
}

impl Profile {
    /// Writes `NAME.perf` and `NAME.statements.csv` into the folder for profiles; none without one.
    pub(super) fn begin(
        options: &Options,
        name: &str,
        database: &mut Database,
    ) -> anyhow::Result<Option<Self>> {
        let Some(folder) = &options.profiles else { return Ok(None) };
        std::fs::create_dir_all(folder)?;
        database.run(
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()",
        )?;
        // Of all processes: of one by its number it would miss later threads, and PostgreSQL is many.
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-a", "-F", "199", "--call-graph", "dwarf,16384", "-o"]);
        command.arg(folder.join(format!("{name}.perf"))).stdout(Stdio::null());
        let perf = command.stderr(Stdio::null()).spawn().context("perf does not start")?;
        Ok(Some(Self { perf, statements: folder.join(format!("{name}.statements.csv")) }))
    }

    pub(super) fn end(mut self, database: &mut Database) -> anyhow::Result<()> {
        self.end_perf();
        Ok(std::fs::write(&self.statements, database.copy_out(STATEMENTS)?)?)
    }

    fn end_perf(&mut self) {
        // One that has ended already needs no signal.
        kill_process(Pid::from_child(&self.perf), Signal::INT).ok();
        self.perf.wait().ok();
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.end_perf();
    }
}
