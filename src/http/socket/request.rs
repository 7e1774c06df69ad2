//! What a client says on a socket, read strictly: a misspelled field would be a message that nobody gets.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::http::reader::{Followees, Wanted};

/// A message of a client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Subscribe {
        users: Users,
        #[serde(default)]
        after: Option<After>,
        #[serde(default)]
        snapshot: Option<bool>,
    },
    /// A peer may say that it has a message; nobody waits for that here.
    Ack {
        #[serde(rename = "message_id")]
        _message_id: String,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Users {
    All(String),
    Some(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum After {
    Cursor(String),
    Numbers(BTreeMap<String, i64>),
}

/// What is asked for; `None` when nothing is.
///
/// # Errors
///
/// What is wrong; quotes nothing of it.
pub(super) fn read(text: &str) -> Result<Option<Wanted>, &'static str> {
    let said = serde_json::from_str(text).map_err(|_| {
        "a message must be {\"type\":\"subscribe\",\"users\":[…]|\"*\",\"after\":…,\"snapshot\":…}"
    })?;
    let Said::Subscribe { users, after, snapshot } = said else { return Ok(None) };
    match (users, after) {
        (Users::All(all), after) if all == "*" => {
            let cursor = match after {
                None => None,
                Some(After::Cursor(cursor)) => Some(cursor),
                Some(After::Numbers(_)) => return Err("`after` of everybody must be a cursor"),
            };
            let whom = Followees::Everybody(cursor);
            Ok(Some(Wanted { whom, snapshot: snapshot.unwrap_or(false) }))
        }
        (Users::All(_), _) => Err("`users` must be \"*\" or a list of user ids"),
        (Users::Some(_), Some(After::Cursor(_))) => {
            Err("`after` must name the newest n of each user")
        }
        (Users::Some(users), after) => {
            let mut numbers = match after {
                Some(After::Numbers(numbers)) => numbers,
                _ => BTreeMap::new(),
            };
            if numbers.values().any(|n| *n < 0) {
                return Err("`after` must hold numbers from 0 on");
            }
            let users = users.into_iter().map(|user_id| {
                let after = numbers.remove(&user_id);
                (user_id, after)
            });
            let whom = Followees::Users(users.collect());
            if !numbers.is_empty() {
                return Err("`after` names somebody whom `users` does not");
            }
            Ok(Some(Wanted { whom, snapshot: snapshot.unwrap_or(true) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_read_as_it_is_written() {
        let wanted = |text: &str| read(text).expect("a message").expect("a subscription");
        let some = wanted(r#"{"type":"subscribe","users":["a","b"],"after":{"b":7}}"#);
        let Followees::Users(users) = some.whom else { panic!("a list") };
        assert_eq!(users, [("a".to_owned(), None), ("b".to_owned(), Some(7))].into());
        assert!(some.snapshot, "who names users is told where they stand");
        let all = wanted(r#"{"type":"subscribe","users":"*","after":"c","snapshot":true}"#);
        let Followees::Everybody(cursor) = all.whom else { panic!("everybody") };
        assert_eq!((cursor.as_deref(), all.snapshot), (Some("c"), true));
        let now = wanted(r#"{"type":"subscribe","users":"*","after":null}"#);
        assert!(matches!(now.whom, Followees::Everybody(None)) && !now.snapshot);
        assert!(read(r#"{"type":"ack","message_id":"x"}"#).expect("a message").is_none());
    }

    #[test]
    fn what_nobody_could_mean_is_no_message_and_is_not_quoted() {
        for text in [
            "",
            "canary",
            "[]",
            r#"{"type":"canary"}"#,
            r#"{"users":["canary"]}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","users":"canary"}"#,
            r#"{"type":"subscribe","users":["canary"],"afer":{"canary":1}}"#,
            r#"{"type":"subscribe","users":["canary"],"after":"canary"}"#,
            r#"{"type":"subscribe","users":["canary"],"after":{"other":1}}"#,
            r#"{"type":"subscribe","users":["canary"],"after":{"canary":-1}}"#,
            r#"{"type":"subscribe","users":["canary"],"after":{"canary":1.5}}"#,
            r#"{"type":"subscribe","users":"*","after":{"canary":1}}"#,
            r#"{"type":"subscribe","users":["canary"],"users":["b"]}"#,
        ] {
            let wrong = read(text).err().unwrap_or_else(|| panic!("taken: {text}"));
            assert!(!wrong.contains("canary"), "{wrong}");
        }
    }
}
