//! `alerts`: what is open, its history, and what people do about it. The lane's owner carries that out; this only
//! asks for it.

mod opened;

use std::io::{self, Write as _};
use std::time::Duration;

use actors::command::{DONE, Order};
use actors::home::home;
use actors::lane::UserNumber;
use clap::{Args, Subcommand};
use neuros::alert::{self, Quiet};
use neuros::time::Micros;

use super::asking::{Asking, NOTED, Patience};
use super::config::Layers;
use super::failure::Failure;
use super::servers::{self, block_on, log_access, whoami};
use crate::app::now;
use opened::{Opened, PAGE, changes_of, open};

/// Shows alerts, and says what is done about them.
///
/// An alert is named by its user and, of that user's open ones, by its rule or its id. What is asked for takes its
/// place among the user's records, so that it is neither lost nor done twice.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The open alerts, of everybody or of one user; audited.
    #[command(after_help = "Examples:
  biometric-bridge alerts list
  biometric-bridge alerts list u1 --all --json")]
    List {
        /// Of whom.
        user: Option<String>,
        /// Those of the user that are over too.
        #[arg(long, requires = "user")]
        all: bool,
        /// One JSON object a line: the newest message about each.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        layers: Layers,
    },
    /// All that was said of a user's alert, oldest first; audited.
    #[command(after_help = "Example:
  biometric-bridge alerts show u1 mode_reflex")]
    Show {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        layers: Layers,
    },
    /// Somebody has seen it: it is not notified again unless it becomes more serious.
    #[command(after_help = "Example:
  biometric-bridge alerts ack u1 mode_reflex")]
    Ack {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        layers: Layers,
    },
    /// Nothing is notified of the rule for so long, unless it becomes more serious; it is notified again
    /// when that is over and the alert is not.
    #[command(after_help = "Example:
  biometric-bridge alerts snooze u1 mode_guardian --for 8h")]
    Snooze {
        #[command(flatten)]
        named: Named,
        /// For how long.
        #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
        length: Duration,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        layers: Layers,
    },
    /// It is over, whatever the readings say; the rule fires anew only after they have been normal.
    #[command(after_help = "Example:
  biometric-bridge alerts resolve u1 low_hrv_low_hr")]
    Resolve {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        layers: Layers,
    },
    /// A user's quiet hours: what is not critical waits for their end.
    #[command(after_help = "Examples:
  biometric-bridge alerts quiet u1 --zone Europe/Berlin --from 22:00 --until 07:00
  biometric-bridge alerts quiet u1 --off")]
    Quiet {
        /// Whose.
        user: String,
        #[command(flatten)]
        hours: Hours,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        layers: Layers,
    },
}

/// One alert.
#[derive(Args)]
struct Named {
    /// Whose.
    user: String,
    /// Its rule, or its id.
    #[arg(value_name = "RULE|ID")]
    alert: String,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Hours {
    /// The time zone in which the user lives.
    #[arg(long, value_name = "ZONE", requires_all = ["from", "until"])]
    zone: Option<String>,
    /// Local time at which it begins.
    #[arg(long, value_name = "HH:MM", value_parser = minutes, requires = "zone")]
    from: Option<u16>,
    /// Local time at which it ends, perhaps on the next day.
    #[arg(long, value_name = "HH:MM", value_parser = minutes, requires = "zone")]
    until: Option<u16>,
    /// No quiet hours.
    #[arg(long, conflicts_with = "zone")]
    off: bool,
}

/// A time of day in minutes after midnight.
fn minutes(text: &str) -> Result<u16, String> {
    let two = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| two(hour).zip(two(minute)));
    match parts {
        Some((hour @ 0..24, minute @ 0..60)) => Ok(hour * 60 + minute),
        _ => Err("wanted is a time of day such as 22:00".to_owned()),
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let by = || format!("command line/{}", whoami());
    match &arguments.command {
        Command::List { user: None, json, layers, .. } => list_open(*json, layers),
        Command::List { user: Some(user), all, json, layers } => list_of(user, *all, *json, layers),
        Command::Show { named, layers } => show(named, layers),
        Command::Ack { named, patience, layers } => {
            let order = |episode| alert::Order::Acknowledge { episode, by: by() };
            act(named, order, patience, layers)
        }
        Command::Snooze { named, length, patience, layers } => {
            let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX / 4);
            let until = (now() + Micros(length.min(i64::MAX / 4))).as_micros();
            let order = |episode| alert::Order::Snooze { episode, until, by: by() };
            act(named, order, patience, layers)
        }
        Command::Resolve { named, patience, layers } => {
            let order = |episode| alert::Order::Resolve { episode, by: by() };
            act(named, order, patience, layers)
        }
        Command::Quiet { user, hours, patience, layers } => quiet(user, hours, patience, layers),
    }
}

/// Everybody's open alerts, a page at a time.
fn list_open(json: bool, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let mut output = io::stdout().lock();
        let (mut after, mut shown) = ((UserNumber(i64::MIN), 0), 0);
        loop {
            let page = asking.store.open_alerts(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.user, last.n);
            let count = i64::try_from(page.len()).unwrap_or(i64::MAX);
            log_access(&asking.store, "biometric_alerts", None, count).await?;
            for opened in open(&asking, page).await? {
                print(&opened, json, &mut output)?;
                shown += 1;
            }
        }
        if shown == 0 && !json {
            writeln!(output, "no alert is open")?;
        }
        servers::close(&asking.store).await;
        Ok(output.flush()?)
    })
}

fn list_of(user_id: &str, all: bool, json: bool, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let changes = changes_of(&asking, user_id).await?;
        let mut output = io::stdout().lock();
        let mut shown = 0;
        for (place, change) in changes.iter().enumerate() {
            let mut later = changes.iter().skip(place + 1);
            let is_newest = !later.any(|other| other.text("id") == change.text("id"));
            if is_newest && (all || change.is_open()) {
                print(change, json, &mut output)?;
                shown += 1;
            }
        }
        if shown == 0 && !json {
            writeln!(output, "the user has no such alert")?;
        }
        servers::close(&asking.store).await;
        Ok(output.flush()?)
    })
}

fn print(opened: &Opened, json: bool, output: &mut impl io::Write) -> io::Result<()> {
    match json {
        true => writeln!(output, "{}", opened.message),
        false => writeln!(output, "{}", opened.line()),
    }
}

fn show(named: &Named, layers: &Layers) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let changes = changes_of(&asking, &named.user).await?;
        let newest = changes.iter().rev().find(|change| change.is_named(&named.alert));
        let Some(newest) = newest else { return Err(no_such()) };
        let mut output = io::stdout().lock();
        for change in changes.iter().filter(|change| change.text("id") == newest.text("id")) {
            writeln!(output, "{}", change.message)?;
        }
        servers::close(&asking.store).await;
        Ok(output.flush()?)
    })
}

fn no_such() -> Failure {
    Failure::Usage(
        "the user has no such alert; `alerts list USER` shows those that are open".to_owned(),
    )
}

/// Asks the owner of the user's lane to do something about an open alert.
fn act(
    named: &Named,
    order: impl FnOnce(i64) -> alert::Order,
    patience: &Patience,
    layers: &Layers,
) -> Result<(), Failure> {
    let settings = layers.load()?.settings;
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let changes = changes_of(&asking, &named.user).await?;
        let newest = changes.iter().rev().find(|change| change.is_named(&named.alert));
        let id = newest.ok_or_else(no_such)?.text("id");
        // The number of an episode is that of the first that was said of it.
        let first = changes.iter().find(|change| change.text("id") == id).ok_or_else(no_such)?;
        let asked = ask(&asking, &named.user, order(first.n), patience).await;
        servers::close(&asking.store).await;
        asked
    })
}

async fn ask(
    asking: &Asking,
    user_id: &str,
    order: alert::Order,
    patience: &Patience,
) -> Result<(), Failure> {
    let lane = home(user_id, asking.routing.partition_count);
    let order = Order::Alert { user_id: user_id.to_owned(), order };
    let asked = asking.ask(lane, order).await?;
    let outcomes = asking.outcomes(&[asked], patience).await?;
    let outcome = outcomes.first().map_or("", String::as_str);
    if outcome != DONE && !outcome.starts_with(NOTED) {
        return Err(Failure::Unavailable(outcome.to_owned()));
    }
    Ok(writeln!(io::stdout(), "{outcome}")?)
}

fn quiet(
    user_id: &str,
    hours: &Hours,
    patience: &Patience,
    layers: &Layers,
) -> Result<(), Failure> {
    let quiet = match (&hours.zone, hours.from, hours.until) {
        (Some(zone), Some(from), Some(until)) => {
            Some(Quiet::new(zone, from, until).map_err(Failure::Usage)?)
        }
        _ => None,
    };
    let settings = layers.load()?.settings;
    block_on(async {
        let asking = Asking::open(&settings).await?;
        let asked = ask(&asking, user_id, alert::Order::Quiet(quiet), patience).await;
        servers::close(&asking.store).await;
        asked
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_two_numbers() {
        assert_eq!(minutes("22:05"), Ok(22 * 60 + 5));
        for text in ["24:00", "7:00", "07:60", "07", "", "-1:00", "+7:00"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
