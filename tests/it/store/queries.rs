//! The queries of the deployment guide, word for word, and the names that others use.

use actors::rows::Sink;
use uuid::Uuid;

use super::batches::{Owner, alert, mail, transition};
use super::facts;
use super::places::{self, Place};

facts!(the_views_say_whose_and_what, an_alert_is_what_its_newest_change_says);

/// Of the guide's "Verify Processing", "Daily Tasks" and "LangGraph State Errors".
const GUIDE: [&str; 5] = [
    "SELECT * FROM neuros_checkpoints ORDER BY created_at DESC LIMIT 5;",
    "SELECT * FROM cognitive_mode_transitions ORDER BY transition_time DESC LIMIT 5;",
    "SELECT COUNT(*) FROM biometric_events WHERE time > NOW() - INTERVAL '1 hour';",
    "SELECT * FROM phi_access_log WHERE access_time > NOW() - INTERVAL '24 hours';",
    "DELETE FROM neuros_checkpoints WHERE thread_id = 'problematic_thread';",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_s_queries_run() {
    let Some(place) = places::postgres().await else { return };
    let mut owner = Owner::first(&place.store).await;
    owner.with_user("problematic_thread").await;
    for query in GUIDE {
        place.rows(query).await;
    }
    assert_eq!(place.count("neuros_checkpoints").await, 0);
    assert_eq!(place.count("users").await, 1);
    let plan = place.rows("EXPLAIN SELECT COUNT(*) FROM biometric_events").await;
    let plan: Vec<String> =
        plan.iter().map(|row| row.try_get_by_index(0).expect("a line")).collect();
    assert!(!plan.join("\n").contains("users"), "a count reads no users: {plan:?}");
}

/// What an erasure, an export of one person and `alerts list` ask, with tables that are not small.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_about_one_person_or_open_alerts_reads_no_whole_table() {
    let Some(place) = places::postgres().await else { return };
    for fill in [
        "INSERT INTO phi_access_log (user_id, accessor_id, access_type, table_name)
             SELECT CASE WHEN n % 10 = 0 THEN 'u' || n END, 'a', 'READ', 'users'
             FROM generate_series(1, 20000) n",
        "INSERT INTO lane_commands (lane, kind, user_id, requested_by)
             SELECT 0, 'rekey', CASE WHEN n % 10 = 0 THEN 'u' || n END, 'a'
             FROM generate_series(1, 20000) n",
        "INSERT INTO alert_changes (user_number, n, record_number, alert_id, message_id, status, started_at,
                 updated_at, recorded_at, body)
             SELECT n / 4, n, 1, gen_random_uuid(), gen_random_uuid(),
                 CASE WHEN n % 100 = 0 THEN 'firing' ELSE 'resolved' END, now(), now(), now(), ''
             FROM generate_series(1, 20000) n",
        "ANALYZE phi_access_log, lane_commands, alert_changes",
    ] {
        place.rows(fill).await;
    }
    for (query, index) in [
        ("SELECT count(*) FROM phi_access_log WHERE user_id = 'u50'", "phi_access_log_user"),
        (
            "SELECT * FROM phi_access_log WHERE user_id = 'u50' AND id > 7 ORDER BY id LIMIT 2000",
            "phi_access_log_user",
        ),
        ("SELECT count(*) FROM lane_commands WHERE user_id = 'u50'", "lane_commands_user"),
        ("SELECT * FROM lane_commands WHERE user_id = 'u50' ORDER BY id", "lane_commands_user"),
        (
            "SELECT * FROM alert_changes WHERE (user_number > 7 OR (user_number = 7 AND n > 3))
                 AND status IN ('firing', 'acknowledged')
                 AND NOT EXISTS (SELECT 1 FROM alert_changes later
                     WHERE later.user_number = alert_changes.user_number
                         AND later.alert_id = alert_changes.alert_id AND later.n > alert_changes.n)
             ORDER BY user_number, n LIMIT 100",
            "alert_changes_open",
        ),
    ] {
        let plan = place.rows(&format!("EXPLAIN {query}")).await;
        let plan: Vec<String> =
            plan.iter().map(|row| row.try_get_by_index(0).expect("a line")).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan"), "{query}\n{plan}");
    }
}

async fn the_views_say_whose_and_what(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let mut batch = owner.batch();
    batch.transitions.push(transition(user, 1, 1));
    mail(&mut batch, Sink::Transitions, user, 1);
    owner.commit(batch).await.expect("it is committed");
    let id = format!("{}:1", user.0);
    let events = format!(
        "biometric_events WHERE user_id = 'u1' AND device_id = 'ring 0' AND id = '{id}' \
         AND event_type = 'heart_rate' AND record_number = 1 AND time IS NOT NULL"
    );
    assert_eq!(place.count(&events).await, 1);
    let checkpoints = "neuros_checkpoints WHERE thread_id = 'u1' AND version = 1 \
                       AND record_number = 1 AND created_at IS NOT NULL";
    assert_eq!(place.count(checkpoints).await, 1);
    let transitions = "cognitive_mode_transitions WHERE user_id = 'u1' AND seq = 1 AND n = 1 \
                       AND transition_time IS NOT NULL AND recorded_at IS NOT NULL";
    assert_eq!(place.count(transitions).await, 1);
    let audit = "phi_access_log WHERE accessor_id = 'bridge/it' AND access_type = 'WRITE' \
                 AND table_name = 'event_records' AND record_id = 'lane 0 batch 1'";
    assert_eq!(place.count(audit).await, 1);
}

async fn an_alert_is_what_its_newest_change_says(place: Place) {
    let mut owner = Owner::first(&place.store).await;
    let user = owner.with_user("u1").await;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let mut batch = owner.batch();
    batch.alerts = vec![
        alert(user, 1, first, "firing"),
        alert(user, 2, second, "firing"),
        alert(user, 3, first, "resolved"),
    ];
    owner.commit(batch).await.expect("it is committed");
    assert_eq!(place.count("biometric_alerts WHERE user_id = 'u1'").await, 2);
    assert_eq!(place.count("biometric_alerts WHERE status = 'resolved' AND n = 3").await, 1);
    assert_eq!(place.count("biometric_alerts WHERE status = 'firing' AND n = 2").await, 1);
}
