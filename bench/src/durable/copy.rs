//! COPY alone: the rows of a finished drain into an equal, empty table, on one connection. What the drain is
//! measured against, and beside it a COPY that knows nothing of us.

use actors::lane::Provenance;
use anyhow::{Context as _, bail};

use super::database::Database;
use super::drain::Drained;
use super::setup::{Setup, say};
use super::{clock, middle};

/// Rows of one COPY, each in a transaction of its own.
const BATCH: usize = 5_000;
/// The middle one counts.
const REPEATS: usize = 3;
const YARDSTICK_ROWS: u32 = 300_000;

/// Rates are rows a second.
pub(super) struct Copied {
    pub(super) rate: f64,
    /// CPU of PostgreSQL for a row, microseconds.
    pub(super) postgres_micros: f64,
    pub(super) yardstick: f64,
    /// Bytes of a row in COPY's binary format.
    pub(super) row_bytes: usize,
}

pub(super) fn run(setup: &Setup, drained: &Drained) -> anyhow::Result<Copied> {
    say(&format!("{} users: COPY alone", drained.users))?;
    let mut database = Database::connect(&drained.place.url)?;
    // What time has done to alerts meanwhile is stored too, and is no event.
    let rows = database.copy_out(&format!(
        "COPY (SELECT * FROM event_records WHERE source <> {}) TO STDOUT (FORMAT binary)",
        Provenance::Order(0).number()
    ))?;
    let batches = batches(&rows)?;
    let row_bytes = rows.len() / usize::try_from(drained.stored)?.max(1);
    drop(rows);
    database.run("CREATE TABLE alone (LIKE event_records INCLUDING ALL)")?;
    database.run(
        "CREATE TABLE yardstick (time timestamptz, a int, b int, c int, body bytea); \
         ALTER TABLE yardstick ALTER COLUMN body SET STORAGE EXTERNAL",
    )?;
    let yardstick = yardstick_batches();
    let (mut rates, mut micros, mut yardsticks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let (rate, used) = copy(setup, &mut database, "alone", &batches, drained.stored)?;
        rates.push(rate);
        micros.push(used);
        let rows = u64::from(YARDSTICK_ROWS);
        yardsticks.push(copy(setup, &mut database, "yardstick", &yardstick, rows)?.0);
    }
    Ok(Copied {
        rate: middle(rates),
        postgres_micros: middle(micros),
        yardstick: middle(yardsticks),
        row_bytes,
    })
}

/// Rate, and PostgreSQL's CPU for a row in microseconds.
fn copy(
    setup: &Setup,
    database: &mut Database,
    table: &str,
    batches: &[Vec<u8>],
    rows: u64,
) -> anyhow::Result<(f64, f64)> {
    database.run(&format!("TRUNCATE {table}"))?;
    database.run("CHECKPOINT")?;
    let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let process = setup.postgres.process.id();
    let used = clock::cpu_of_family(process)?;
    let began = clock::now();
    let mut copied = 0;
    for batch in batches {
        copied += database.copy_in(&statement, batch)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let used = clock::cpu_of_family(process)?.saturating_sub(used);
    anyhow::ensure!(copied == rows, "COPY took {copied} of {rows} rows");
    Ok((rows as f64 / seconds, used.as_secs_f64() * 1e6 / rows as f64))
}

/// Signature, flags and the length of a header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Cuts a binary COPY into several, row by row.
fn batches(copy: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut rest = copy.strip_prefix(HEADER).context("COPY begins in another way")?;
    let mut batches = Vec::new();
    let mut batch = HEADER.to_vec();
    let mut rows = 0;
    loop {
        let Some(length) = row_length(rest)? else { break };
        let (row, behind) = rest.split_at_checked(length).context("COPY ends within a row")?;
        batch.extend_from_slice(row);
        rest = behind;
        rows += 1;
        if rows == BATCH {
            batch.extend_from_slice(&TRAILER);
            batches.push(std::mem::replace(&mut batch, HEADER.to_vec()));
            rows = 0;
        }
    }
    if rows > 0 {
        batch.extend_from_slice(&TRAILER);
        batches.push(batch);
    }
    Ok(batches)
}

/// Bytes of the row that comes next; `None` when there is none.
fn row_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let cut = || anyhow::anyhow!("COPY ends within a row");
    let columns = i16::from_be_bytes(*bytes.first_chunk().ok_or_else(cut)?);
    if columns < 0 {
        return Ok(None);
    }
    let mut length = 2;
    for _ in 0..columns {
        let field = bytes.get(length..).and_then(|rest| rest.first_chunk()).ok_or_else(cut)?;
        length += 4;
        match i32::from_be_bytes(*field) {
            -1 => {}
            bytes if bytes >= 0 => length += usize::try_from(bytes)?,
            _ => bail!("COPY has a field of negative length"),
        }
    }
    Ok(Some(length))
}

/// Rows of a time, three numbers and 220 bytes.
fn yardstick_batches() -> Vec<Vec<u8>> {
    let rows = u32::try_from(BATCH).unwrap_or(u32::MAX);
    let batch = |first: u32| {
        let mut out = HEADER.to_vec();
        for number in first..first + rows {
            out.extend_from_slice(&5_i16.to_be_bytes());
            out.extend_from_slice(&8_i32.to_be_bytes());
            out.extend_from_slice(&(i64::from(number) * 1_000).to_be_bytes());
            for n in [number, number / 7, number / 1_000] {
                out.extend_from_slice(&4_i32.to_be_bytes());
                out.extend_from_slice(&n.to_be_bytes());
            }
            out.extend_from_slice(&220_i32.to_be_bytes());
            out.extend(
                (0..220_u32)
                    .map(|place| number.wrapping_mul(31).wrapping_add(place).to_be_bytes()[3]),
            );
        }
        out.extend_from_slice(&TRAILER);
        out
    };
    (0..YARDSTICK_ROWS / rows).map(|batch_number| batch(batch_number * rows)).collect()
}
