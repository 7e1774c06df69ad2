//! All that was said and stored while planted values went through the system, and what of them is in it.

use super::marks::Marks;
use crate::servers::Redis;
use crate::service::http::office::Answer;

/// Who may read a place, and so what must not be in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Logs, metrics, errors: neither values nor whose they are.
    Said,
    /// Databases, and what names users to whoever asks: no values.
    Kept,
}

/// What there is to search.
#[derive(Default)]
pub(super) struct Evidence {
    places: Vec<(String, Kind, Vec<u8>)>,
    /// What lets somebody in.
    secrets: Vec<String>,
}

/// What is searched for.
pub(super) struct Wanted {
    /// What is about a person's body.
    pub(super) values: Marks,
    /// Ids of users, and of their devices.
    pub(super) people: Marks,
}

impl Evidence {
    pub(super) fn said(&mut self, place: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.places.push((place.into(), Kind::Said, text.into()));
    }

    pub(super) fn kept(&mut self, place: impl Into<String>, text: impl Into<Vec<u8>>) {
        self.places.push((place.into(), Kind::Kept, text.into()));
    }

    /// Something that must be nowhere.
    pub(super) fn secret(&mut self, text: &str) {
        self.secrets.push(text.to_owned());
    }

    /// An answer by HTTP. One that shows health data to who may see it has it in its body, and nowhere else.
    pub(super) fn answer(&mut self, place: &str, answer: &Answer, shows: bool) {
        self.said(format!("the head of the answer to {place}"), format!("{:?}", answer.headers));
        if !shows {
            self.said(format!("the answer to {place}"), answer.body.as_str());
        }
    }

    /// Every key of a Redis and what is under it. The keys name users; so each is searched apart from its value.
    pub(super) fn redis(&mut self, redis: &Redis) -> usize {
        let client = redis::Client::open(redis.url()).expect("an address");
        let mut connection = client.get_connection().expect("Redis takes the connection");
        let keys: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg("*").query(&mut connection).expect("Redis answers");
        for key in &keys {
            let kind: String =
                redis::cmd("TYPE").arg(key).query(&mut connection).expect("Redis answers");
            let read = if kind == "hash" { "HGETALL" } else { "DUMP" };
            let value: redis::Value =
                redis::cmd(read).arg(key).query(&mut connection).expect("Redis answers");
            self.kept("a key of Redis", key.clone());
            self.kept("a value in Redis", bytes_of(&value));
        }
        keys.len()
    }

    /// Everything that is where it must not be, a line each.
    pub(super) fn leaks(&self, wanted: &Wanted) -> Vec<String> {
        let secrets = Marks::of(self.secrets.iter().map(String::as_str), &[]);
        let mut leaks = Vec::new();
        for (place, kind, bytes) in &self.places {
            let value = wanted.values.find(bytes);
            let person = (*kind == Kind::Said).then(|| wanted.people.find(bytes)).flatten();
            let found = value.into_iter().chain(person);
            leaks.extend(found.map(|found| format!("{place}: {found}")));
            leaks.extend(secrets.find(bytes).map(|_| format!("{place}: what lets somebody in")));
        }
        leaks
    }
}

/// All bytes of an answer of Redis, one piece behind the other.
fn bytes_of(value: &redis::Value) -> Vec<u8> {
    match value {
        redis::Value::BulkString(bytes) => bytes.clone(),
        redis::Value::Array(values) => values.iter().flat_map(bytes_of).collect(),
        redis::Value::Map(pairs) => pairs
            .iter()
            .flat_map(|(key, value)| [bytes_of(key), bytes_of(value)].concat())
            .collect(),
        other => format!("{other:?}").into_bytes(),
    }
}
