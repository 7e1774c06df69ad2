//! Processes that die, people who are erased, and a coach that is switched on late.

use serde_json::Value;

use super::{accesses, coached, messages, person, strain, wait_told};
use crate::servers::{Answer, Bridge, Model, Server as _};
use crate::service::check;
use crate::support::{stderr, stdout};

#[test]
fn whoever_dies_each_mode_change_has_one_message_and_is_asked_about_once() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__TIMEOUT", "1m");
    model.answer(Answer::Hang);
    let bridges = [site.start(), site.start()];
    bridges.iter().for_each(Bridge::wait_some_lanes);
    let people: Vec<String> = (0..24).map(person).collect();
    strain(&site, &people, 0);
    site.wait_sql("SELECT count(*) = 24 FROM mode_transitions");
    model.wait_asked(4);
    // One dies in the middle of its calls, and the other takes its lanes over; then that one dies too.
    bridges[0].kill();
    bridges[1].wait_lanes(crate::service::site::LANES);
    bridges[1].kill();
    let asked = model.asked().len();
    model.answer(Answer::Text("Take it gently.".to_owned()));
    let bridge = site.start();
    check::all(&site);
    wait_told(&site);
    let said = messages(&site);
    assert_eq!(said.len(), 24);
    let cut_off = said.iter().filter(|said| said["fallback_reason"] == "cut_off").count();
    assert!(asked >= 4 && cut_off >= asked, "{asked} asked, {cut_off} cut off");
    let by_model = said.iter().filter(|said| said["source"] == "model").count();
    assert_eq!(by_model + cut_off, 24, "nothing else happened");
    assert!(model.asked().len() <= 24, "nobody is asked about twice");
    assert_eq!(site.number("SELECT max(calls) FROM coach_messages"), 1);
    let disclosed = usize::try_from(accesses(&site, "DISCLOSE")).expect("few");
    assert!(disclosed >= model.asked().len(), "each call is written down");
    bridge.end();
}

#[test]
fn nobody_who_is_erased_is_told_of_and_what_was_said_of_them_goes() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__TIMEOUT", "1m");
    let bridge = site.start();
    let [told, asked] = [person(0), person(1)];
    strain(&site, std::slice::from_ref(&told), 0);
    site.wait_sql("SELECT count(*) = 1 FROM mode_transitions");
    wait_told(&site);
    let exported = site.run(&["export", "person", "--user", &told]);
    let is_said = |line: &str| line.starts_with("{\"part\":\"coach_message\"");
    assert_eq!(exported.lines().filter(|line| is_said(line)).count(), 1, "{exported}");
    let receipt: Value =
        serde_json::from_str(&site.run(&["erase", &told, "--unsigned"])).expect("JSON");
    assert_eq!(receipt["statement"]["destroyed"]["coach_messages"], 1, "{receipt}");
    assert_eq!(site.number("SELECT count(*) FROM coach_messages"), 0);
    // The other is erased while somebody is asked about them.
    model.answer(Answer::Hang);
    strain(&site, std::slice::from_ref(&asked), 0);
    model.wait_asked(2);
    site.run(&["erase", &asked, "--unsigned"]);
    model.answer(Answer::Text("Take it gently.".to_owned()));
    site.wait_sql(
        "SELECT count(*) = 0 FROM lanes l LEFT JOIN coach_cursors c USING (lane)
         WHERE l.outbox > coalesce(c.number, 0)",
    );
    assert_eq!(site.number("SELECT count(*) FROM coach_messages"), 0);
    assert_eq!(accesses(&site, "DISCLOSE"), 2);
    let output = site.output(&["export", "coach-messages", "--user", &told], "");
    assert_eq!(stdout(&output), "");
    assert!(stderr(&output).contains("1 users were erased"), "{}", stderr(&output));
    bridge.end();
}

#[test]
fn who_is_switched_on_later_tells_of_what_comes_then() {
    let model = Model::start();
    let Some(mut site) = coached(&model) else { return };
    site.set("BRIDGE__COACH__ENABLED", "false");
    let bridge = site.start();
    strain(&site, &[person(0), person(1)], 0);
    check::all(&site);
    bridge.end();
    site.set("BRIDGE__COACH__ENABLED", "true");
    let bridge = site.start();
    strain(&site, &[person(2)], 0);
    check::all(&site);
    site.wait_sql("SELECT count(*) = 1 FROM coach_messages WHERE body IS NOT NULL");
    assert_eq!(site.number("SELECT count(*) FROM mode_transitions"), 3);
    assert_eq!(model.asked().len(), 1, "what came before stays untold");
    bridge.end();
    // And off again: what was said stays.
    site.set("BRIDGE__COACH__ENABLED", "false");
    let bridge = site.start();
    strain(&site, &[person(3)], 0);
    check::all(&site);
    bridge.end();
    assert_eq!((model.asked().len(), messages(&site).len()), (1, 1));
}

#[test]
fn where_it_cannot_be_written_down_nobody_is_asked() {
    let model = Model::start();
    let Some(site) = coached(&model) else { return };
    let bridge = site.start();
    bridge.wait_lanes(crate::service::site::LANES);
    site.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'no'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON phi_access_log FOR EACH ROW
         WHEN (new.access_type = 'DISCLOSE') EXECUTE FUNCTION refuse()",
    );
    strain(&site, &[person(0)], 0);
    site.wait_sql("SELECT count(*) = 1 FROM mode_transitions");
    wait_told(&site);
    assert_eq!(model.connections(), 0);
    site.sql("DROP TRIGGER refuse ON phi_access_log");
    let said = messages(&site).remove(0);
    assert_eq!(said["fallback_reason"], "unwritten", "{said}");
    check::all(&site);
    bridge.end();
}
