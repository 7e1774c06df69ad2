//! What the coach says of a person's mode changes.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::archive::{File, Opened};
use super::{Messages, Reader, Tagged};
use crate::coach;
use crate::http::problem::Problem;
use crate::http::query::Page;

/// A page of messages as they were written.
#[derive(Serialize)]
struct CoachMessages {
    messages: Vec<Box<RawValue>>,
    /// What to ask for next; `null` when these were the last.
    next: Option<i64>,
}

impl Reader {
    /// A page of the coach's messages, and its tag: what is written is never written anew.
    pub(in crate::http) async fn coach_messages(&self, page: Page) -> Result<Tagged, Problem> {
        let limit = i64::from(page.limit);
        let read = async move |opened: Arc<Opened>, file: File| {
            // What is of before the user was erased and let in again does not open.
            let (user, after) =
                (file.stored.user, page.after.max(file.stored.start.message_number));
            let rows = opened.store.coach_messages_of_user(user, after, limit).await?;
            let mut messages = Messages::of(rows.len(), limit);
            for row in &rows {
                if messages.is_full() {
                    break;
                }
                let place = coach::place(user, row.n);
                messages.add(place, Some(opened.open(&file, place, &row.body).await?))?;
            }
            let newest = messages.newest.unwrap_or(after);
            let (messages, next) = messages.end();
            let tag = format!("{after}.{limit}.{}.{newest}", messages.len());
            Ok(Tagged { body: super::written(&CoachMessages { messages, next })?, tag })
        };
        let part = Some(format!("n > {}", page.after));
        self.disclose("coach_messages", part, limit, read).await
    }
}
