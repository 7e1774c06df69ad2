//! How many calls there are: counted by the store, whoever makes them and whatever dies.

use super::{coached, person, strain, wait_told};
use crate::servers::{Model, Server as _};
use crate::service::check;
use crate::service::feed::{Event, stream};
use crate::service::site::Site;

/// How many messages have that reason instead of a language model's text.
fn instead(site: &Site<'_>, reason: &str) -> usize {
    super::messages(site).iter().filter(|said| said["fallback_reason"] == reason).count()
}

#[test]
fn a_days_calls_are_counted_across_instances_and_their_ends() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__CALLS_PER_DAY", "5");
    let bridges = [site.start(), site.start()];
    bridges.iter().for_each(crate::servers::Bridge::wait_some_lanes);
    let people: Vec<String> = (0..12).map(person).collect();
    strain(&site, &people[..8], 0);
    check::all(&site);
    wait_told(&site);
    assert_eq!((model.asked().len(), instead(&site, "day_spent")), (5, 3));
    bridges.iter().for_each(|bridge| bridge.kill());
    let bridge = site.start();
    strain(&site, &people[8..], 0);
    check::all(&site);
    wait_told(&site);
    assert_eq!((model.asked().len(), instead(&site, "day_spent")), (5, 7));
    bridge.wait_metric("biometric_coach_calls_left{window=\"day\"}", |left| left == 0.0);
    assert!(bridge.metric("biometric_coach_calls_left{window=\"minute\"}") > 0.0);
    // What was a day ago counts no more.
    site.sql("UPDATE coach_messages SET called_at = called_at - interval '25 h'");
    let late = [person(90), person(91)];
    strain(&site, &late, 0);
    check::all(&site);
    wait_told(&site);
    assert_eq!(model.asked().len(), 7);
    bridge.end();
}

#[test]
fn one_user_and_one_minute_have_limits_of_their_own() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__CALLS_PER_USER_DAY", "2");
    site.set("BRIDGE__COACH__CALLS_PER_MINUTE", "6");
    let bridge = site.start();
    let restless = person(0);
    let events: Vec<Event> = (0..120).map(|number| Event::swinging(&restless, number)).collect();
    stream(site.kafka, &site.topics.events, &events, 120);
    check::all(&site);
    wait_told(&site);
    let changes = super::messages(&site).len();
    assert!(changes > 2, "{changes}");
    assert_eq!((model.asked().len(), instead(&site, "user_day_spent")), (2, changes - 2));
    let people: Vec<String> = (1..=9).map(person).collect();
    // As if all were of this moment, however long that took.
    site.sql("UPDATE coach_messages SET called_at = now() WHERE called_at IS NOT NULL");
    strain(&site, &people, 0);
    check::all(&site);
    wait_told(&site);
    assert_eq!((model.asked().len(), instead(&site, "minute_spent")), (6, 5));
    bridge.end();
}

#[test]
fn what_is_old_is_nobodys_business_any_more() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__NEWER_THAN", "10m");
    let bridge = site.start();
    strain(&site, &[person(0)], 0);
    check::all(&site);
    wait_told(&site);
    assert_eq!(instead(&site, "old"), 1);
    assert_eq!(model.connections(), 0);
    bridge.end();
}
