//! For how long nothing is written after the service was killed in the middle of a drain. Then no checkpoint is of
//! the last seconds, and what came since is applied once more before anything else is.

use std::time::Duration;

use super::database::Database;
use super::drain::{Drained, fill};
use super::report::of_users;
use super::service::{Service, progress, watch};
use super::setup::{Setup, say};
use super::{Options, clock};
use crate::table::Table;

const LOOK: Duration = Duration::from_millis(10);

/// The users of a drain go on with a third of its events before that: for longer than checkpoints lag, as a rule.
pub(super) fn run(
    setup: &Setup,
    options: &Options,
    drained: &Drained,
    table: &mut Table,
) -> anyhow::Result<()> {
    let (place, users) = (&drained.place, drained.users);
    let mut settings = options.settings.clone();
    // It takes its lanes back at once, as one would have it that is started again in its place.
    settings.push(("BRIDGE__KAFKA__GROUP_INSTANCE_ID".to_owned(), "bench".to_owned()));
    let until_killed = drained.events / 3;
    say(&format!("{users} users: killing the service after {until_killed} events more"))?;
    fill(setup, place, users, 2 * until_killed)?;
    let mut database = Database::connect(&place.url)?;
    let mut services = [Service::start(setup, &settings, place)?];
    watch(&mut services, &mut database, drained.events + until_killed, LOOK)?;
    let [service] = services;
    service.kill()?;
    let (read, _) = progress(&mut database)?;
    let lag = database.number(
        "SELECT count(*) FROM event_records JOIN lanes USING (lane) WHERE time > checkpointed",
    )?;
    let began = clock::now();
    let mut services = [Service::start(setup, &settings, place)?];
    watch(&mut services, &mut database, read + 1, LOOK)?;
    let first = began.elapsed().as_secs_f64();
    let of = of_users(users);
    table.put(format!("{of}: killed, records beyond checkpoints"), lag as f64, "records");
    table.put(format!("{of}: killed, until the first new rows"), first, "s");
    Ok(())
}
