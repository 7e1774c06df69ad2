//! Which dead letters a command is about: by name, or by what they have in common.

use actors::dead_letter::Letter;
use actors::lane::Lane;
use clap::Args;
use neuros::time::Timestamp;

use crate::cli::failure::Failure;
use crate::store::{LetterEntry, LetterFilter, SqlStore};

/// Reads a dead letter's name: LANE/NUMBER.
pub(super) fn letter(text: &str) -> Result<Letter, &'static str> {
    const WANTED: &str =
        "a dead letter is named LANE/NUMBER, such as 3/17; `dlq list` has the names";
    let (lane, number) = text.split_once('/').ok_or(WANTED)?;
    let (lane, number) = (lane.parse().ok(), number.parse().ok());
    lane.zip(number).map(|(lane, number)| Letter { lane: Lane(lane), number }).ok_or(WANTED)
}

/// What dead letters have in common.
#[derive(Args)]
pub(super) struct Filter {
    /// Of this lane only.
    #[arg(long, value_name = "NUMBER")]
    lane: Option<i32>,
    /// With this reason only, such as not_json.
    #[arg(long)]
    reason: Option<String>,
    /// Records of this user in quarantine only.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// That failed at or after this time only, such as 2026-11-24T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

impl Filter {
    pub(super) fn of(&self, with_released: bool) -> LetterFilter {
        LetterFilter {
            lane: self.lane,
            reason: self.reason.clone(),
            user_id: self.user.clone(),
            since: self.since,
            with_released,
        }
    }

    fn is_empty(&self) -> bool {
        let Self { lane, reason, user, since } = self;
        lane.is_none() && reason.is_none() && user.is_none() && since.is_none()
    }
}

/// Names, or what they have in common.
#[derive(Args)]
pub(super) struct Choice {
    /// Which, as `list` names them: LANE/NUMBER.
    #[arg(value_name = "LETTER", value_parser = letter)]
    letters: Vec<Letter>,
    #[command(flatten)]
    filter: Filter,
}

impl Choice {
    /// Their names; at least one word must say which.
    pub(super) async fn letters(&self, store: &SqlStore) -> Result<Vec<Letter>, Failure> {
        if self.letters.is_empty() == self.filter.is_empty() {
            return Err(Failure::Usage(
                "say which: names of dead letters (LANE/NUMBER), or at least one of --lane, --reason, \
                 --user and --since, not both"
                    .to_owned(),
            ));
        }
        if !self.letters.is_empty() {
            return Ok(self.letters.clone());
        }
        let found = find(store, &self.filter.of(false), usize::MAX).await?;
        let name = |found: &LetterEntry| Letter { lane: found.lane, number: found.number };
        Ok(found.iter().map(name).collect())
    }
}

/// Dead letters, at most `limit`, a page at a time.
pub(super) async fn find(
    store: &SqlStore,
    filter: &LetterFilter,
    limit: usize,
) -> Result<Vec<LetterEntry>, Failure> {
    const PAGE: usize = 1_000;
    let mut found: Vec<LetterEntry> = Vec::new();
    loop {
        let after = found.last().map_or((Lane(-1), 0), |letter| (letter.lane, letter.number));
        let page = PAGE.min(limit - found.len());
        let wanted = i64::try_from(page).unwrap_or(i64::MAX);
        let letters = store.letters_after(filter, after, wanted).await?;
        let is_last = letters.len() < page;
        found.extend(letters);
        if is_last || found.len() >= limit {
            return Ok(found);
        }
    }
}
