//! Erasures that are cut off: whoever dies in the middle, doing it again finishes it.

use std::thread::sleep;
use std::time::Duration;

use super::{all_agree, receipt, records_of, sign};
use crate::servers::{Outgoing, Server as _};
use crate::service::check;
use crate::service::feed::{self, Event};
use crate::service::site::{LANES, Site, Stamps};
use crate::support::stderr;

/// How long each erasure is left alone before it is killed, ms, and whether the instance is killed with it.
const CUTS: [(u64, bool); 6] =
    [(30, false), (150, true), (600, false), (1_200, true), (2_200, true), (2_600, false)];

#[test]
fn an_erasure_that_was_killed_anywhere_is_finished_by_doing_it_again() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let events = feed::crowd(CUTS.len() + 1, 40);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    feed::stream(site.kafka, &site.topics.events, &events, 70);
    site.wait_caught_up();
    for (user, (time, also_instance)) in CUTS.into_iter().enumerate() {
        let user = format!("user-{user}");
        let mut command = site.spawn(&["erase", &user]);
        sleep(Duration::from_millis(time));
        command.kill().expect("it is killed or has ended");
        command.wait().expect("it has ended");
        if also_instance {
            bridge.kill();
            bridge.start_again();
            bridge.wait_lanes(LANES);
        }
        let statement = receipt(&site, &user);
        assert_eq!(statement["user_id"], user.as_str());
        assert_eq!(records_of(&site, &user), 0, "{user}");
    }
    let erased = "SELECT count(*) FROM users WHERE erased_at IS NOT NULL";
    assert_eq!(site.number(erased), 6);
    let live = "SELECT count(*) FROM encryption_keys WHERE destroyed_at IS NULL";
    assert_eq!(site.number(live), 2, "the last person's and the service's own");
    let last = format!("user-{}", CUTS.len());
    assert_eq!(records_of(&site, &last), 40);
    let in_modes = "SELECT sum(reflex + guardian + pattern + hypothesis) FROM lanes";
    assert_eq!(site.number(in_modes), 1, "each has left their mode once");
    all_agree(&site);
    check::counts(&site);
    bridge.end();
}

#[test]
fn without_an_owner_there_is_no_receipt_and_the_next_one_does_it() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let bridge = site.start();
    bridge.wait_lanes(LANES);
    let events: Vec<Event> = (0..10).map(|number| Event::of("u1", 1, number)).collect();
    let messages: Vec<Outgoing<'_>> = events.iter().map(Event::keyed).collect();
    site.kafka.produce(&site.topics.events, &messages);
    site.wait_caught_up();
    bridge.end();
    let output = site.output(&["erase", "u1", "--wait", "1s"], "");
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("not done yet"), "{}", stderr(&output));
    let noted = site.run(&["erase", "u1", "--wait", "0s"]);
    assert!(noted.contains("do it again for a receipt"), "{noted}");
    bridge.start_again();
    bridge.wait_lanes(LANES);
    // The owner does its part by itself: the keys are gone, whether anybody waits or not.
    site.wait_sql("SELECT count(*) = 1 FROM encryption_keys WHERE destroyed_at IS NOT NULL");
    assert_eq!(receipt(&site, "u1")["destroyed"]["records"], 10);
    bridge.end();
}
