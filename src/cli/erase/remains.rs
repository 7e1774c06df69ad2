//! What remains of an erased person, where and until when: asked where it can be asked, and said to be unknown where
//! not. Nothing here changes anything.

use std::time::Duration;

use neuros::time::{Micros, Timestamp};
use serde_json::{Value, json};

use super::Erasing;
use super::sweep::{Cleared, Sweep};
use crate::app::{connection_of, now, topics_of};
use crate::cli::failure::Failure;
use crate::kafka::topics;
use crate::store::Left;

/// How long brokers may take to say for how long they keep what.
const PATIENCE: Duration = Duration::from_secs(10);

const FOR_EVER: &str = "for ever";
const UNKNOWN: &str = "unknown";

impl Erasing<'_> {
    /// Each place with what is there, whether it can be read, and until when it is there.
    pub(super) async fn remains(&self, swept: &Sweep) -> Result<Vec<Value>, Failure> {
        let now = now();
        let mut remains = self.topics(now).await;
        remains.extend(self.rows(swept, now).await?);
        remains.extend(self.cache(&swept.cache, now));
        remains.extend(self.backups(now));
        Ok(remains)
    }

    /// Each of our topics with the retention that its broker tells.
    async fn topics(&self, now: Timestamp) -> Vec<Value> {
        let (connection, names) = (connection_of(self.settings), topics_of(self.settings));
        let all = [
            (&names.events, "the person's events, as producers wrote them"),
            (&names.by_user, "those of them that came in on another partition"),
            (&names.dead_letters, "those of them that were rejected"),
            (&names.alerts, "the person's alerts"),
            (&names.transitions, "the person's mode changes"),
        ];
        let asked: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let settings = topics::settings(&connection, &asked, PATIENCE).await;
        let topic = |(name, what): (&String, &str)| {
            let until = match &settings {
                Ok(settings) => settings.get(name).map_or(UNKNOWN.to_owned(), |its| kept(its, now)),
                Err(_) => UNKNOWN.to_owned(),
            };
            json!({ "where": format!("Kafka topic {name}"), "what": what, "readable": true, "until": until })
        };
        all.into_iter().map(topic).collect()
    }

    async fn rows(&self, swept: &Sweep, now: Timestamp) -> Result<Vec<Value>, Failure> {
        let mut rows = Vec::new();
        let mut add = |table: &str, what: String, until: String| {
            let place = format!("database, table {table}");
            rows.push(json!({ "where": place, "what": what, "readable": false, "until": until }));
        };
        let kept = || FOR_EVER.to_owned();
        if let Some(user) = swept.user {
            let left = self.asking.store.left_of(user, self.user_id).await?;
            let Left { accesses, commands, outbox } = left;
            add("users", "the id, the number, when it was erased, counts".to_owned(), kept());
            add(
                "encryption_keys",
                format!("numbers and times of {} keys", swept.keys.len()),
                kept(),
            );
            add(
                "phi_access_log",
                format!("the id in {accesses} rows: who looked at what when"),
                kept(),
            );
            add(
                "lane_commands",
                format!("the id in {commands} commands, with their times"),
                kept(),
            );
            if outbox > 0 {
                let until = later(now, self.settings.store.keep_outbox);
                add("outbox", format!("{outbox} messages that nothing opens"), until);
            }
        }
        if swept.letters.destroyed > 0 {
            let what =
                format!("when {} letters came and why, without them", swept.letters.destroyed);
            add("dead_letters", what, kept());
        }
        if swept.letters.of_nobody > 0 {
            rows.push(json!({
                "where": "database, table dead_letters",
                "what": format!("{} letters of which nobody can tell whose they are", swept.letters.of_nobody),
                "readable": true,
                "until": FOR_EVER,
            }));
        }
        Ok(rows)
    }

    fn cache(&self, cleared: &Cleared, now: Timestamp) -> Option<Value> {
        let Cleared::Away(problem) = cleared else { return None };
        Some(json!({
            "where": "Redis",
            "what": format!("perhaps a state that nothing opens: {problem}"),
            "readable": false,
            "until": later(now, self.settings.redis.expire_after),
        }))
    }

    fn backups(&self, now: Timestamp) -> [Value; 2] {
        let days = self.settings.keys.backup_days;
        let keys_gone = later(now, Duration::from_hours(24) * days);
        match &self.settings.keys.url {
            Some(_) => [
                json!({
                    "where": "backups of the database",
                    "what": "sealed rows that nothing opens without the keys",
                    "readable": false,
                    "until": "they expire",
                }),
                json!({
                    "where": "backups of the key store",
                    "what": "the person's keys, wrapped; with them a backup of the database opens",
                    "readable": true,
                    "until": keys_gone,
                }),
            ],
            None => [
                json!({
                    "where": "backups of the database",
                    "what": "the person's rows with the person's keys, wrapped: such a backup opens with the \
                             key-encryption key",
                    "readable": true,
                    "until": "they expire",
                }),
                json!({
                    "where": "the database's own log (WAL) and its archive",
                    "what": "the same",
                    "readable": true,
                    "until": "it is recycled, and the archive expires",
                }),
            ],
        }
    }
}

/// Until when a topic keeps what is in it now.
fn kept(settings: &std::collections::BTreeMap<String, String>, now: Timestamp) -> String {
    let setting = |name: &str| settings.get(name).map(String::as_str);
    if setting("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        return FOR_EVER.to_owned();
    }
    let retention = setting("retention.ms").and_then(|text| text.parse::<i64>().ok());
    match retention {
        None => UNKNOWN.to_owned(),
        Some(..0) => FOR_EVER.to_owned(),
        // A segment goes as a whole, when the newest in it has passed the time.
        Some(retention) => {
            let segment = setting("segment.ms").and_then(|text| text.parse::<i64>().ok());
            let millis = retention.saturating_add(segment.unwrap_or(0)).saturating_mul(1_000);
            (now + Micros(millis.min(i64::MAX / 4))).to_string()
        }
    }
}

fn later(now: Timestamp, time: Duration) -> String {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX / 4);
    (now + Micros(micros)).to_string()
}
