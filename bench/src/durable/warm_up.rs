//! Brings machine and database to where they are after a while in operation. A virtual machine gets its memory from
//! its host page by page, when it touches it for the first time, and that takes ten times as long as to touch it once
//! more; and PostgreSQL writes a segment of its log twice, when there is no old one to be used again. Whatever is
//! measured first would pay for that alone, and COPY alone, which runs three times over the same rows, never would.

use anyhow::Context as _;

use super::database::Database;
use super::setup::{Setup, say};

/// Of the machine's memory a quarter is touched: no run uses more.
const PART_OF_MEMORY: u64 = 4;

const PAGE_BYTES: usize = 4_096;

/// Rows of two kilobytes each, somewhat more than the database's memory and than any run writes to the log.
const ROWS: u32 = 600_000;

pub(super) fn run(setup: &Setup) -> anyhow::Result<()> {
    say("warming up")?;
    touch_memory()?;
    let mut database = Database::connect(&setup.new_database("warm_up")?)?;
    database.run(&format!(
        "CREATE EXTENSION pg_prewarm;
         CREATE TABLE filled AS SELECT repeat(md5(i::text), 60) FROM generate_series(1, {ROWS}) AS i;
         SELECT pg_prewarm('filled');
         DROP TABLE filled"
    ))?;
    database.run("CHECKPOINT")
}

fn touch_memory() -> anyhow::Result<()> {
    let info = rustix::system::sysinfo();
    let bytes = info.totalram * u64::from(info.mem_unit) / PART_OF_MEMORY;
    let mut memory = vec![0_u8; usize::try_from(bytes).context("too much memory")?];
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    std::hint::black_box(memory);
    Ok(())
}
