//! `replay`: recorded logs in, outcomes or states out.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use neuros::wire::{Intake, NaiveZones};
use neuros::{Explain, Policy};

use super::failure::Failure;
use super::input::{Input, Progress};
use super::{complain, policy};
use crate::replay::{AlertReplay, Applied, Lines, Numbered, OutcomeLine, Replay};

/// Replays recorded logs and prints what became of every event.
///
/// A log is NDJSON, one record a line: {"record_time_ms": 1740988802000, "value": {…}}, in the
/// order in which the records were written; a `value` that is a string is the raw message. The
/// same log under the same policy gives the same output, byte for byte.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge replay < log.ndjson > outcomes.ndjson
  biometric-bridge replay --explain --user u1 log.ndjson | jq -r .text
  biometric-bridge replay --alerts --policy my.yaml log.ndjson | jq 'select(.notify)'
  biometric-bridge replay --policy my.yaml --state monday.ndjson tuesday.ndjson")]
pub(super) struct Arguments {
    /// The logs, replayed one after the other as one log; `-`, or none, is standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The policy; without it the built-in one applies.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the users' final states instead of outcomes.
    #[arg(long, conflicts_with = "explain")]
    state: bool,
    /// Add to each outcome why, as a sentence (`text`) and as data (`explanation`).
    #[arg(long)]
    explain: bool,
    /// Print what would have been said of alerts instead of outcomes, as time passes in the log, and how often
    /// somebody would have been notified of each user.
    #[arg(long, conflicts_with_all = ["explain", "state"])]
    alerts: bool,
    /// Replay this user's records only.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Skip malformed lines, naming each, instead of stopping at the first.
    #[arg(long)]
    keep_going: bool,
    /// The time zone of timestamps without an offset, of all sources or of one (may be repeated).
    #[arg(long, value_name = "[SOURCE=]ZONE", value_parser = zone_of_source)]
    naive_timestamps: Vec<(Option<String>, jiff::tz::TimeZone)>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let policy = policy::load(arguments.policy.as_deref())?.policy;
    let intake = Intake {
        future_max: policy.clock.max_future,
        naive_zones: naive_zones(&arguments.naive_timestamps),
        ..Intake::default()
    };
    // A log that is not there is told before any other is replayed.
    let inputs = Input::open_all(&arguments.files)?;
    let mut session = Session::new(&arguments, &policy, intake);
    for input in inputs {
        session.replay(input)?;
    }
    session.finish(arguments.user.is_some())
}

/// One run of the command.
struct Session<'p> {
    replay: Replay<'p>,
    alerts: Option<AlertReplay<'p>>,
    output: BufWriter<io::StdoutLock<'static>>,
    progress: Progress,
    states_only: bool,
    explain: bool,
    keep_going: bool,
    /// The number of the next line, over all files.
    next_line: u64,
    malformed: u64,
    /// There was a record of the user asked for, or of anybody.
    matched: bool,
}

impl<'p> Session<'p> {
    fn new(arguments: &Arguments, policy: &'p Policy, intake: Intake) -> Self {
        let explain = if arguments.explain { Explain::Everything } else { Explain::Switches };
        let only_user = arguments.user.clone();
        let alerts = arguments.alerts.then(|| AlertReplay::new(policy, intake.clone(), only_user));
        Self {
            alerts,
            replay: Replay::new(policy, intake, explain, arguments.user.clone()),
            output: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
            progress: Progress::over(&arguments.files),
            states_only: arguments.state,
            explain: arguments.explain,
            keep_going: arguments.keep_going,
            next_line: 0,
            malformed: 0,
            matched: false,
        }
    }

    fn replay(&mut self, input: Input) -> Result<(), Failure> {
        let first = self.next_line;
        let mut lines = Lines::numbered_from(first, input.reader);
        let unreadable = |source| Failure::Input { input: input.name.clone(), source };
        while let Some(Numbered { number, bytes, line }) = lines.read().map_err(unreadable)? {
            self.progress.advance(bytes);
            match line {
                Ok(line) if let Some(alerts) = &mut self.alerts => {
                    let output = &mut self.output;
                    self.matched |= alerts.apply(&line, |said| write_line(said, output))?;
                }
                Ok(line) => {
                    let (explain, output) = (self.explain, &mut self.output);
                    let silent = self.states_only;
                    let matched = &mut self.matched;
                    self.replay.apply(&line, |applied| {
                        *matched |= !matches!(applied, Applied::Ignored);
                        if silent { Ok(()) } else { print(number, &applied, explain, output) }
                    })?;
                }
                Err(problem) => {
                    let (input, line) = (input.name.clone(), number - first + 1);
                    let failure = Failure::MalformedLine { input, line, problem };
                    if !self.keep_going {
                        // What came before the malformed line is good, and is not held back.
                        self.output.flush()?;
                        self.progress.clear();
                        return Err(failure);
                    }
                    self.malformed += 1;
                    self.progress.suspend(|| complain(&failure));
                }
            }
        }
        self.next_line = lines.next_number();
        Ok(())
    }

    fn finish(mut self, one_user: bool) -> Result<(), Failure> {
        for summary in self.alerts.iter().flat_map(AlertReplay::summaries) {
            write_line(&summary, &mut self.output)?;
        }
        if self.states_only {
            for summary in self.replay.summaries() {
                write_line(&summary, &mut self.output)?;
            }
        }
        self.output.flush()?;
        self.progress.clear();
        if one_user && !self.matched {
            complain(&"no record is of the user asked for");
        }
        if self.malformed > 0 {
            complain(&match self.malformed {
                1 => "1 malformed line was skipped".to_owned(),
                more => format!("{more} malformed lines were skipped"),
            });
        }
        Ok(())
    }
}

fn print(i: u64, applied: &Applied<'_>, explain: bool, output: &mut impl Write) -> io::Result<()> {
    match applied {
        Applied::Record { user_id, outcomes } => outcomes.iter().try_for_each(|outcome| {
            write_line(&OutcomeLine::of_outcome(i, user_id, outcome, explain), output)
        }),
        Applied::Rejected { rejection, state } => {
            write_line(&OutcomeLine::of_rejection(i, rejection, *state, explain), output)
        }
        Applied::Ignored => Ok(()),
    }
}

fn write_line(line: &impl serde::Serialize, output: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, line)?;
    output.write_all(b"\n")
}

fn zone_of_source(text: &str) -> Result<(Option<String>, jiff::tz::TimeZone), String> {
    let (source, zone) = match text.rsplit_once('=') {
        Some((source, zone)) => (Some(source.to_owned()), zone),
        None => (None, text),
    };
    let zone = jiff::tz::TimeZone::get(zone)
        .map_err(|_| format!("`{zone}` is no zone of the IANA database, such as Europe/Berlin"))?;
    Ok((source, zone))
}

fn naive_zones(given: &[(Option<String>, jiff::tz::TimeZone)]) -> NaiveZones {
    let mut zones = NaiveZones::default();
    for (source, zone) in given {
        match source {
            Some(source) => {
                zones.by_source.insert(source.clone(), zone.clone());
            }
            None => zones.default = zone.clone(),
        }
    }
    zones
}
