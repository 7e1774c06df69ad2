//! Tickets for sockets, for browsers, which cannot send a token when they open one: each is good once, for half a
//! minute, at any instance. Neither kept nor logged in the clear.

use std::future::Future;
use std::sync::Arc;

use actors::phi::Phi;
use actors::seal::{Place, open_own};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use neuros::time::{Micros, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::archive::{Archive, LOG_PATIENCE, Opened, Unread, told, undone};
use super::now;
use crate::http::authentication::Identity;
use crate::http::problem::Problem;
use crate::seal::fill_random;

/// How long a ticket is good.
pub(in crate::http) const SECONDS: i64 = 30;
const TICKET_BYTES: usize = 32;

impl Archive {
    /// A new ticket for somebody.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    pub(in crate::http) async fn keep_ticket(
        &self,
        identity: &Identity,
    ) -> Result<String, Problem> {
        let mut bytes = Zeroizing::new([0; TICKET_BYTES]);
        fill_random(bytes.as_mut_slice()).map_err(|_| Problem::broken())?;
        let ticket = BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice());
        let (digest, identity) = (digest_of(&ticket), Phi::new(identity.to_bytes()));
        let kept = self.in_turn(async move |opened: Arc<Opened>| {
            let key = opened.keys.newest_service_key().await?;
            let sealed = opened.seal.seal(&key, place(&digest), &identity);
            let now = now();
            let end = now + Micros::from_seconds(SECONDS);
            Ok(opened.store.keep_ticket(&digest, sealed.0, end, now).await?)
        });
        kept.await.map(|()| ticket)
    }

    /// For whom a ticket is; it is used up by that.
    ///
    /// # Errors
    ///
    /// When that cannot be known now.
    pub(in crate::http) async fn take_ticket(
        &self,
        ticket: &str,
    ) -> Result<Option<Identity>, Problem> {
        // Nobody knows yet who asks: what cannot be a ticket is not looked for.
        if !has_form(ticket) {
            return Ok(None);
        }
        let digest = digest_of(ticket);
        self.in_turn(async move |opened: Arc<Opened>| take(&opened, &digest, now()).await).await
    }

    /// Asks the store when it is somebody's turn, and does not wait for long.
    async fn in_turn<T, F>(
        &self,
        ask: impl FnOnce(Arc<Opened>) -> F + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Unread>> + Send,
    {
        let opened = self.opened()?;
        let asked = Arc::clone(&opened);
        let work = async move { ask(asked).await };
        match opened.turns.take(LOG_PATIENCE, work).await {
            Ok(done) => done.map_err(told),
            Err(not_done) => Err(undone(not_done)),
        }
    }
}

async fn take(
    opened: &Opened,
    digest: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Identity>, Unread> {
    let Some(sealed) = opened.store.take_ticket(digest, now).await? else { return Ok(None) };
    let opened = open_own(&*opened.keys, &*opened.seal, place(digest), &sealed).await?;
    // What was not sealed here is nobody's.
    Ok(opened.ok().and_then(|bytes| Identity::of_bytes(bytes.expose())))
}

/// Whether a text could be a ticket.
fn has_form(text: &str) -> bool {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
    bytes.is_ok_and(|bytes| bytes.len() == TICKET_BYTES)
}

fn digest_of(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

fn place(digest: &[u8; 32]) -> Place {
    let record = digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    Place { table: "socket_tickets", column: "identity", user: 0, record }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ticket_is_seen_without_asking_anybody() {
        let ticket = BASE64_URL_SAFE_NO_PAD.encode([7; TICKET_BYTES]);
        assert!(has_form(&ticket));
        for text in ["", "x", "canary", &ticket[1..], &format!("{ticket}A"), &format!("{ticket}=")]
        {
            assert!(!has_form(text), "{text}");
        }
    }
}
