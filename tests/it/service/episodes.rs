//! Alerts in operation: what people do about them holds on every instance and across restarts, and time alone
//! resolves and reminds.

use serde_json::Value;

use super::check;
use super::site::{Site, Stamps};
use crate::servers::{Outgoing, Server as _, folder};
use crate::support::{stderr, stdout};

/// Short, so that time passes within a test.
const POLICY: &str = "return: {after_calm: 0s}
selection: {cooldown: 0s}
alerts:
  rules:
    - {id: mode_reflex, title: Strain, mode: reflex, clear_after: 1s, remind_after: 1s,
       severity: [{is: high, of: confidence, at_least: 0.85}, {is: medium}]}
    - {id: mode_guardian, title: Depleted, mode: guardian, severity: high, clear_after: 1s}
";

/// A reading of now.
fn send(site: &Site<'_>, user: &str, metric: &str, value: f64) {
    let now = jiff::Timestamp::now();
    let event = format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
         \"timestamp\":\"{now}\",\"metrics\":{{\"{metric}\":{value}}}}}"
    );
    let key = Some(user.as_bytes());
    let message = Outgoing { key, value: Some(event.as_bytes()), ..Outgoing::default() };
    site.kafka.produce(&site.topics.events, &[message]);
}

/// Everything that was said of a user's alerts.
fn said(site: &Site<'_>, user: &str) -> Vec<Value> {
    let lines = site.run(&["export", "alerts", "--user", user]);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Waits until so many changes of alerts are stored of a user.
fn wait_said(site: &Site<'_>, user: &str, count: usize) {
    site.wait_sql(&format!(
        "SELECT count(*) >= {count} FROM alert_changes JOIN users USING (user_number)
         WHERE user_id = '{user}'"
    ));
}

fn statuses(said: &[Value]) -> Vec<(&str, bool)> {
    let told = |change: &Value| change["notify"] == true;
    said.iter().map(|change| (change["status"].as_str().expect("a text"), told(change))).collect()
}

#[test]
fn what_is_done_about_alerts_holds_on_every_instance_and_time_alone_resolves_them() {
    let Some(mut site) = Site::shared(Stamps::Broker) else { return };
    let policy = folder().join(format!("{}.yaml", site.group));
    std::fs::write(&policy, POLICY).expect("a policy file");
    site.set("BRIDGE__POLICY__FILE", policy.to_str().expect("a path"));
    let (first, second) = (site.start(), site.start());
    first.wait_ready();
    second.wait_ready();
    for user in ["ada", "bob", "cyd"] {
        send(&site, user, "stress_level", 0.95);
    }
    send(&site, "dan", "recovery_score", 30.0);
    for user in ["ada", "bob", "cyd", "dan"] {
        wait_said(&site, user, 1);
    }
    let listed = site.run(&["alerts", "list"]);
    for (user, rule) in [("ada", "high mode_reflex"), ("dan", "high mode_guardian")] {
        assert!(listed.lines().any(|line| line.contains(user) && line.contains(rule)), "{listed}");
    }
    assert_eq!(site.run(&["alerts", "ack", "ada", "mode_reflex"]), "done\n");
    let again = site.output(&["alerts", "ack", "ada", "mode_reflex"], "");
    assert!(stderr(&again).contains("so already"), "{}", stderr(&again));
    assert_eq!(site.run(&["alerts", "snooze", "bob", "mode_reflex", "--for", "10m"]), "done\n");
    assert_eq!(site.run(&["alerts", "snooze", "dan", "mode_guardian", "--for", "3s"]), "done\n");
    // Whoever owned the lanes is gone; what was done about alerts is not.
    first.kill();
    second.kill();
    let third = site.start();
    third.wait_ready();
    // Reminders come of whom nobody has acknowledged or snoozed, by time alone.
    wait_said(&site, "cyd", 3);
    wait_said(&site, "dan", 3);
    assert_eq!(
        statuses(&said(&site, "dan")),
        [("firing", true), ("firing", false), ("firing", true)],
        "fired, snoozed, told when the snooze was over"
    );
    send(&site, "ada", "stress_level", 0.96);
    send(&site, "bob", "stress_level", 0.96);
    site.wait_caught_up();
    // Whoever was reminded before is not any more.
    assert_eq!(statuses(&said(&site, "ada")).last(), Some(&("acknowledged", false)));
    assert_eq!(statuses(&said(&site, "bob")).last(), Some(&("firing", false)));
    let acknowledged = said(&site, "ada").len();
    let open = site.run(&["alerts", "list", "bob", "--json"]);
    let open: Value = serde_json::from_str(&open).expect("one alert");
    assert!(open["snoozed_until"].is_string(), "{open}");
    // One reading ends the strain; that it does not come back only time can say.
    send(&site, "ada", "stress_level", 0.1);
    wait_said(&site, "ada", acknowledged + 1);
    let last = said(&site, "ada").pop().expect("a change");
    assert_eq!((&last["status"], &last["notify"]), (&"resolved".into(), &false.into()), "{last}");
    assert_eq!(last["id"], said(&site, "ada")[0]["id"], "the same episode");
    let resolved = site.output(&["alerts", "resolve", "ada", "mode_reflex"], "");
    assert!(stderr(&resolved).contains("no such open alert"), "{}", stderr(&resolved));
    assert_eq!(site.run(&["alerts", "resolve", "dan", "mode_guardian"]), "done\n");
    assert!(site.run(&["alerts", "show", "dan", "mode_guardian"]).contains("resolved by hand"));
    let quiet = ["alerts", "quiet", "cyd", "--zone", "Asia/Tokyo", "--from", "22:00"];
    assert_eq!(site.run(&[&quiet[..], &["--until", "07:00"]].concat()), "done\n");
    let wrong = site.output(&["alerts", "ack", "nobody", "mode_reflex"], "");
    assert!(stderr(&wrong).contains("no such alert"), "{}", stderr(&wrong));
    assert_eq!(stdout(&wrong), "");
    assert!(site.number("SELECT count(*) FROM event_records WHERE source = 2") > 8);
    third.end();
    let rules = neuros::policy::Loaded::from_yaml(POLICY).expect("valid").policy;
    let fourth = site.start();
    fourth.wait_ready();
    check::all_under(&site, &rules);
    fourth.end();
    let reads = "SELECT count(*) * (max(records) FILTER (WHERE user_id = 'dan') > 2)::int
                 FROM phi_access_log WHERE table_name = 'biometric_alerts'";
    assert!(site.number(reads) > 8, "each look is written down, with how many were read");
}
