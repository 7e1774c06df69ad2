//! What one instance uses for an event, beside what two instances use that share the lanes. Both are running
//! before the first event comes.

use super::Options;
use super::database::Database;
use super::drain::{fill, timed};
use super::service::{LANES, Place, Service, all_are_there};
use super::setup::{Setup, say};
use crate::table::{Goal, Table};

const USERS: u64 = 10_000;
const MOST: i32 = 2;

pub(super) fn run(setup: &Setup, options: &Options, table: &mut Table) -> anyhow::Result<()> {
    let mut used = Vec::new();
    for instances in 1..=MOST {
        say(&format!("{instances} of {MOST} instances"))?;
        let place = Place::make(setup, &format!("instances_{instances}"), -1)?;
        // The schema is brought up by one.
        let first = Service::start(setup, &options.settings, &place)?;
        first.wait_for_lanes()?;
        let mut services = vec![first];
        for _ in 1..instances {
            services.push(Service::start(setup, &options.settings, &place)?);
        }
        for service in &services {
            service.wait_for_so_many_lanes(LANES / instances)?;
        }
        let mut database = Database::connect(&place.url)?;
        let events = options.events / 2;
        let rated = std::thread::scope(|scope| {
            let sending = scope.spawn(|| fill(setup, &place, USERS, events));
            let rated = timed(setup, &mut services, &mut database, events, events)?.whole;
            sending.join().map_err(|_| anyhow::anyhow!("the feed panicked"))??;
            anyhow::Ok(rated)
        })?;
        all_are_there(&mut database, events)?;
        let name = format!("CPU of the service, lanes on {instances} of {MOST} instances");
        table.put(name, rated.service, "µs/event");
        used.push(rated.service);
    }
    if let [one, two] = used.as_slice() {
        let goal = Goal::at_most(1.15, 1.05);
        table.judge("CPU of the service, two instances / one", two / one, "", goal);
    }
    Ok(())
}
