//! A million users: what an event costs beside what it costs with few, and how long it takes until all of
//! them are back after the process was killed.

use super::database::Database;
use super::drain::{self, Rated, Timed, fill, timed};
use super::report;
use super::service::{Service, all_are_there};
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
    // It takes its lanes back at once after a kill, as one would have it that is started again in its place.
    set("BRIDGE__KAFKA__GROUP_INSTANCE_ID", "bench".to_owned());
    let (drained, service) = drain::run(setup, &options, users, events)?;
    report::drained(table, &drained);
    let cost = |rated: Rated| rated.service + rated.postgres;
    table.put("few users: service and PostgreSQL, all met", cost(few), "µs/event");
    let many = cost(drained.known);
    table.put("most users: service and PostgreSQL, all met", many, "µs/event");
    let goal = Goal::at_most(2.0, 1.3);
    table.judge("cost of an event, most users / few", many / cost(few), "", goal);

    say(&format!("{users} users: killing the service, sending {users} events"))?;
    service.kill()?;
    fill(setup, &drained.place, users, users)?;
    let mut database = Database::connect(&drained.place.url)?;
    database.run("CHECKPOINT")?;
    let began = clock::now();
    let mut services = [Service::start(setup, &options.settings, &drained.place)?];
    let starting = began.elapsed().as_secs_f64();
    let Timed { whole: restored, first, .. } =
        timed(setup, &mut services, &mut database, events + users, events + users)?;
    table.put("start after kill -9 to the first new rows", starting + first, "s");
    let with_restoring = began.elapsed().as_secs_f64();
    all_are_there(&mut database, events + users)?;
    drop(services);
    let without = users as f64 / drained.known.rate;
    let restoring = with_restoring - without;
    let read = clock::now();
    let bytes = database
        .copy_out("COPY (SELECT user_number, checkpoint FROM users) TO STDOUT (FORMAT binary)")?
        .len();
    let reading = read.elapsed().as_secs_f64();
    table.put("an event of each user, all live", without, "s");
    table.put("an event of each user after kill -9", with_restoring, "s");
    let (live, of) = (drained.known, "restoring a user: CPU of");
    table.put(format!("{of} the service"), restored.service - live.service, "µs");
    table.put(format!("{of} PostgreSQL"), restored.postgres - live.postgres, "µs");
    table.put("reading all checkpoints by COPY", reading, "s");
    table.put("checkpoints", report::mebibytes(bytes as u64), "MiB");
    let goal = Goal::at_most(4.0, 2.0);
    table.judge(
        "recovery of all states / reading their checkpoints",
        restoring / reading,
        "",
        goal,
    );
    Ok(())
}
