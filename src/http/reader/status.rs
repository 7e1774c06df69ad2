//! Whether what is said of a user may be believed now. A user of whom nothing is evaluated is never shown as calm.

use neuros::time::{Micros, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::text::{Text, text_of};

/// The condition of what is known of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Something was evaluated not long ago.
    Fresh,
    /// Nothing was, or nothing ever.
    Stale,
    /// Nothing is until an operator releases the user.
    Quarantined,
}

impl Status {
    /// Of a user whose newest evaluated event is from then.
    pub(super) fn of(
        quarantined: bool,
        clock: Option<Timestamp>,
        now: Timestamp,
        fresh_for: Micros,
    ) -> Self {
        match clock {
            _ if quarantined => Self::Quarantined,
            Some(clock) if now <= clock + fresh_for => Self::Fresh,
            _ => Self::Stale,
        }
    }

    /// The message that says it of a user.
    pub(super) fn message(self, user_id: &str, clock: Option<Timestamp>) -> Text {
        let message = json!({
            "type": "status", "user_id": user_id, "status": self, "clock": clock,
        });
        text_of(message.to_string())
    }

    /// The message that says it of the whole service; with the cursor from which everybody is followed, if so.
    pub(super) fn of_service(self, cursor: Option<&str>) -> Text {
        let mut message = json!({ "type": "status", "user_id": null, "status": self });
        if let (Some(cursor), Some(fields)) = (cursor, message.as_object_mut()) {
            fields.insert("cursor".to_owned(), cursor.into());
        }
        text_of(message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_fresh_for_longer_than_a_reading_is() {
        let at = Timestamp::from_micros;
        let of =
            |quarantined, clock| Status::of(quarantined, clock, at(100), Micros::from_seconds(0));
        assert_eq!(of(false, Some(at(100))), Status::Fresh);
        assert_eq!(of(false, Some(at(99))), Status::Stale);
        assert_eq!(of(false, None), Status::Stale);
        assert_eq!(of(true, Some(at(100))), Status::Quarantined);
    }
}
