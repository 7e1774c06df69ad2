//! What was said of a user, as exports have it, and a reading that has something said.

use serde_json::Value;

use crate::servers::Outgoing;
use crate::service::site::Site;

/// A text of JSON values, one a line.
pub(super) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// All that was said of a user, in order.
pub(super) fn said(site: &Site<'_>, user: &str) -> Vec<Value> {
    let mut said = lines(&site.run(&["export", "transitions", "--user", user]));
    said.extend(lines(&site.run(&["export", "alerts", "--user", user])));
    said.sort_by_key(|message| message["n"].as_i64());
    said
}

/// Sends a reading of now that says strain.
pub(super) fn strain(site: &Site<'_>, user: &str) {
    let now = jiff::Timestamp::now();
    let event = format!(
        "{{\"user_id\":\"{user}\",\"device_id\":\"d\",\"event_type\":\"vitals\",\
         \"timestamp\":\"{now}\",\"metrics\":{{\"stress_level\":0.95}}}}"
    );
    let (key, value) = (Some(user.as_bytes()), Some(event.as_bytes()));
    site.kafka.produce(&site.topics.events, &[Outgoing { key, value, ..Outgoing::default() }]);
}
