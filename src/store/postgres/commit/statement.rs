//! Several commands as one statement, each with parameters of its own. It knows no table but the lanes'.

use actors::rows::Batch;
use sqlx::{AssertSqlSafe, query};

use super::{Missing, Statement, Written, lane};

/// The rows for one table.
pub(super) struct Part<'b> {
    /// The command that takes them.
    sql: &'static str,
    /// How many it must touch.
    pub(super) rows: usize,
    /// What it means when it touches fewer.
    missing: Missing,
    bind: Box<dyn FnOnce(Statement) -> Statement + 'b>,
}

impl<'b> Part<'b> {
    pub(super) fn new(
        sql: &'static str,
        rows: usize,
        missing: Missing,
        bind: impl FnOnce(Statement) -> Statement + 'b,
    ) -> Self {
        Self { sql, rows, missing, bind: Box::new(bind) }
    }
}

/// The batch whose lane's row is to be set, and where that lies, if it is known.
pub(super) struct Lane<'b> {
    pub(super) batch: &'b Batch,
    pub(super) place: Option<String>,
}

/// Stands in commands for the condition under which they do something.
pub(super) const IF_OURS: &str = "{if ours}";

/// One statement of the lane's row and all parts that have rows. It gives the place of the lane's row, or null, if it
/// sets that; and for each part how many rows that has touched, none where the lane's row could not be set.
pub(super) fn as_one<'b>(
    lane: Option<Lane<'b>>,
    parts: impl IntoIterator<Item = Part<'b>>,
) -> Written {
    let parts: Vec<Part<'b>> = parts.into_iter().filter(|part| part.rows > 0).collect();
    let (mut commands, mut columns, mut parameters) = (Vec::new(), Vec::new(), 0);
    let is_ours = match &lane {
        Some(Lane { place, .. }) => {
            let (sql, highest) = raised(lane::compare_and_set(place.is_some()), 0);
            parameters = highest;
            commands.push(format!("lane AS ({sql})"));
            columns.push("(SELECT place FROM lane)".to_owned());
            "EXISTS (SELECT FROM lane)"
        }
        None => "true",
    };
    for (place, part) in parts.iter().enumerate() {
        let (sql, highest) = raised(part.sql, parameters);
        parameters = highest;
        let sql = sql.replace(IF_OURS, is_ours);
        commands.push(format!("part{place} AS ({sql} RETURNING 1)"));
        columns.push(format!("(SELECT count(*) FROM part{place})"));
    }
    let sql = format!("WITH {} SELECT {}", commands.join(", "), columns.join(", "));
    // Made of constants, of which a few dozen combinations come: each is prepared once.
    let mut written = Written { statement: query(AssertSqlSafe(sql)), expected: Vec::new() };
    if let Some(Lane { batch, place }) = lane {
        written.statement = lane::bind(written.statement, batch, place);
    }
    for part in parts {
        written.statement = (part.bind)(written.statement);
        written.expected.push((part.rows as u64, part.missing));
    }
    written
}

/// A command whose parameters come behind `by` others, and the highest number among them.
fn raised(sql: &str, by: usize) -> (String, usize) {
    let mut pieces = sql.split('$');
    let (mut out, mut highest) = (pieces.next().unwrap_or_default().to_owned(), by);
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = piece.strip_suffix(rest).and_then(|digits| digits.parse::<usize>().ok());
        let number = by + number.unwrap_or_default();
        highest = highest.max(number);
        out.push_str(&format!("${number}{rest}"));
    }
    (out, highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_behind_those_of_the_parts_before() {
        assert_eq!(raised("a = $1 AND b = $12::text", 3), ("a = $4 AND b = $15::text".into(), 15));
        assert_eq!(raised("SELECT 1", 3), ("SELECT 1".into(), 3));
    }
}
