//! Stored records as PostgreSQL's binary COPY format takes them ("Binary Format" in the manual's page
//! on COPY), for batches that are large enough. Never a statement a row.

use actors::rows::{Batch, RecordRow};

use crate::store::instant;

/// The statement that takes them; its columns are in the order in which [`encode`] writes them.
pub(super) const COPY: &str = "COPY event_records (time, lane, position, user_number, number, source, \
    log_offset, record_time, policy, engine, device_id, event_type, body, previous_time, previous_lane, \
    previous_position) FROM STDIN (FORMAT binary)";

const COLUMNS: i16 = 16;

/// Signature, flags and the length of a header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Stands for a field that is not there: a length of -1.
const NULL: [u8; 4] = [0xff; 4];

/// Stands after the last row.
const TRAILER: i16 = -1;

/// PostgreSQL counts microseconds from 2000-01-01, we from 1970.
const EPOCH_2000: i64 = 946_684_800_000_000;

/// What a row takes besides its texts and its body.
const ROW_BYTES: usize = 2 + 16 * 4 + 6 * 8 + 5 * 4 + 2 * 2;

/// From so many records on a batch is copied.
///
/// COPY takes two writes to the server without an answer in between, its data and its end, and the
/// driver leaves Nagle's algorithm on: the second one waits for the acknowledgement of the first, which
/// a kernel puts off by up to 40 ms. A statement is one write, but costs the server half as much again
/// for each row.
const COPIED_MIN: usize = 1_024;

/// Whether the batch's records are to be copied, and not given to a statement.
pub(super) fn is_worth_it(batch: &Batch) -> bool {
    batch.records.len() >= COPIED_MIN
}

/// The batch's records; empty when they are not to be copied.
pub(super) fn encode(batch: &Batch) -> Vec<u8> {
    if !is_worth_it(batch) {
        return Vec::new();
    }
    let texts = |row: &RecordRow| row.device_id.len() + row.event_type.len() + row.body.0.len();
    let bytes: usize = batch.records.iter().map(|row| ROW_BYTES + texts(row)).sum();
    let mut out = Vec::with_capacity(HEADER.len() + bytes + 2);
    out.extend_from_slice(HEADER);
    let time = micros(batch.after.stamp);
    for row in &batch.records {
        out.extend_from_slice(&COLUMNS.to_be_bytes());
        field(&mut out, &time.to_be_bytes());
        field(&mut out, &batch.lane.0.to_be_bytes());
        field(&mut out, &row.position.to_be_bytes());
        field(&mut out, &row.user.0.to_be_bytes());
        field(&mut out, &row.number.to_be_bytes());
        field(&mut out, &row.provenance.number().to_be_bytes());
        field(&mut out, &row.provenance.offset().to_be_bytes());
        field(&mut out, &micros(row.record_time).to_be_bytes());
        field(&mut out, &row.policy.to_be_bytes());
        field(&mut out, &row.engine.to_be_bytes());
        field(&mut out, row.device_id.as_bytes());
        field(&mut out, row.event_type.as_bytes());
        field(&mut out, &row.body.0);
        match row.previous {
            Some(previous) => {
                field(&mut out, &micros(previous.stamp).to_be_bytes());
                field(&mut out, &previous.lane.0.to_be_bytes());
                field(&mut out, &previous.position.to_be_bytes());
            }
            None => out.extend_from_slice(&[NULL; 3].concat()),
        }
    }
    out.extend_from_slice(&TRAILER.to_be_bytes());
    out
}

fn micros(time: neuros::time::Timestamp) -> i64 {
    instant::micros(time) - EPOCH_2000
}

/// A field: its length, then its bytes.
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    // A field cannot be longer: messages are far below, and the server would refuse it.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
