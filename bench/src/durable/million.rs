//! A million users: what an event costs beside what it costs with few, and how long it takes until all of
//! them are back after the process was killed.

use super::database::Database;
use super::drain::{self, Rated, fill, timed};
use super::profile::Profile;
use super::report;
use super::service::{Place, Service, all_are_there};
use super::setup::{Setup, say};
use super::{Options, clock};
use crate::table::{Goal, Table};

/// `few`: what an event costs with few users, all met.
pub(super) fn run(
    setup: &Setup,
    options: &Options,
    few: Rated,
    table: &mut Table,
) -> anyhow::Result<()> {
    let users = options.most_users;
    let events = 2 * users;
    let mut options = options.clone();
    let mut set = |name: &str, value: String| options.settings.push((name.to_owned(), value));
    set("BRIDGE__USERS__LIVE_MAX", (users + users / 2).to_string());
    // It takes its lanes back at once after a kill, as one would have it that is started again in its place …
    set("BRIDGE__KAFKA__GROUP_INSTANCE_ID", "bench".to_owned());
    // … and keeps them while it is halted.
    set("BRIDGE__KAFKA__SESSION_TIMEOUT", "2m".to_owned());
    let (drained, service) = drain::run(setup, &options, users, events)?;
    report::drained(table, &drained);
    let cost = |rated: Rated| rated.service + rated.postgres;
    table.put("few users: service and PostgreSQL, all met", cost(few), "µs/event");
    let many = cost(drained.known);
    table.put("most users: service and PostgreSQL, all met", many, "µs/event");
    let goal = Goal::at_most(2.0, 1.3);
    table.judge("cost of an event, most users / few", many / cost(few), "", goal);
    say(&format!("{users} users: killing the service"))?;
    service.kill()?;
    recovery(setup, &options, &drained.place, (users, events), table)
}

/// Two drains of an event of each user that differ in one thing: in the first each comes back from the store, in the
/// second all are there. Both begin behind a checkpoint of the database, for whoever writes to a page first pays for
/// all of it; and no user has a checkpoint meanwhile, for the longer drain would have more of them.
fn recovery(
    setup: &Setup,
    options: &Options,
    place: &Place,
    (users, before): (u64, u64),
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut settings = options.settings.clone();
    settings.push(("BRIDGE__CHECKPOINT__EVERY".to_owned(), "1h".to_owned()));
    let mut database = Database::connect(&place.url)?;
    let send = |database: &mut Database| {
        say(&format!("{users} users: an event of each"))?;
        fill(setup, place, users, users)?;
        database.run("CHECKPOINT")
    };
    send(&mut database)?;
    let profile = Profile::begin(options, "recovery", &mut database)?;
    let began = clock::now();
    let mut services = [Service::start(setup, &settings, place)?];
    let starting = began.elapsed().as_secs_f64();
    let upto = before + users;
    let restored = timed(setup, &mut services, &mut database, upto, upto)?;
    let with_restoring = began.elapsed().as_secs_f64();
    profile.map(|profile| profile.end(&mut database)).transpose()?;
    services[0].halt()?;
    send(&mut database)?;
    services[0].go_on()?;
    let began = clock::now();
    let upto = upto + users;
    let live = timed(setup, &mut services, &mut database, upto, upto)?;
    let without = began.elapsed().as_secs_f64();
    all_are_there(&mut database, upto)?;
    let [service] = services;
    service.kill()?;
    let restoring = with_restoring - without;
    let read = clock::now();
    let bytes = database
        .copy_out("COPY (SELECT user_number, checkpoint FROM users) TO STDOUT (FORMAT binary)")?
        .len();
    let reading = read.elapsed().as_secs_f64();
    let first = starting + restored.first;
    table.put("start after kill -9 to the first new rows", first, "s");
    table.put("an event of each user after kill -9", with_restoring, "s");
    table.put("an event of each user, all live", without, "s");
    let cpu = |of: fn(&Rated) -> f64| of(&restored.whole) - of(&live.whole);
    table.put("restoring a user: CPU of the service", cpu(|rated| rated.service), "µs");
    table.put("restoring a user: CPU of PostgreSQL", cpu(|rated| rated.postgres), "µs");
    table.put("reading all checkpoints by COPY", reading, "s");
    table.put("checkpoints", report::mebibytes(bytes as u64), "MiB");
    let mut judge = |what: &str, seconds: f64| {
        let name = format!("{what} / reading all checkpoints");
        table.judge(name, seconds / reading, "", Goal::at_most(4.0, 2.0));
    };
    judge("first new rows after kill -9", first);
    judge("recovery of all states", restoring);
    Ok(())
}
