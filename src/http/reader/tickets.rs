//! Tickets for sockets, for browsers, which cannot send a token when they open one: each is good once, for half a
//! minute, at any instance. Neither kept nor logged in the clear: the store has a ticket's digest, and whom it is for
//! under a key of this ticket alone.

use std::future::Future;
use std::sync::Arc;

use actors::phi::Phi;
use actors::seal::{DataKey, Place, Unopened};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::HMAC_SHA256;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use neuros::time::{Micros, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::archive::{Archive, LOG_PATIENCE, Opened, undone};
use super::now;
use super::unread::{Unread, told};
use crate::http::authentication::Identity;
use crate::http::problem::Problem;
use crate::seal::fill_random;

/// How long a ticket is good.
pub(in crate::http) const SECONDS: i64 = 30;
const TICKET_BYTES: usize = 32;
/// What a ticket's key is for, so that it is for nothing else.
const INFO: &[u8] = b"identity of a socket ticket, 1";

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
            let key = key_of(&ticket, &opened.keys.service_key().await?).ok_or_else(refused)?;
            let sealed = opened.seal.seal(&key, place(&digest), &identity);
            let now = now();
            let end = now + Micros::from_seconds(SECONDS);
            opened.store.keep_ticket(&digest, sealed.0, end, now).await?;
            Ok(ticket)
        });
        kept.await
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
        let (digest, ticket) = (digest_of(ticket), Zeroizing::new(ticket.to_owned()));
        self.in_turn(async move |opened: Arc<Opened>| take(&opened, &ticket, &digest, now()).await)
            .await
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
    ticket: &str,
    digest: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Identity>, Unread> {
    let Some(sealed) = opened.store.take_ticket(digest, now).await? else { return Ok(None) };
    let open = |service_key: &DataKey| {
        let key = key_of(ticket, service_key).ok_or(Unopened::NotAuthentic)?;
        opened.seal.open(&key, place(digest), &sealed)
    };
    let bytes = match open(&opened.keys.service_key().await?) {
        // The service has had another key in between.
        Err(Unopened::OtherKey(number)) => {
            let newest = opened.keys.newest_service_key().await?;
            newest.numbered(number).and_then(|key| open(key).ok())
        }
        bytes => bytes.ok(),
    };
    // What was not sealed here is nobody's.
    Ok(bytes.and_then(|bytes| Identity::of_bytes(bytes.expose())))
}

fn refused() -> Unread {
    Unread::Away("no key can be derived".to_owned())
}

/// The key of a ticket, which seals once: by HKDF-SHA-256 (RFC 5869) from the ticket, with the service's own key as salt.
/// Whoever has the database alone neither reads nor makes one, and the service's key seals nothing itself. `None` when
/// the library refuses, which it does for longer keys only.
fn key_of(ticket: &str, service_key: &DataKey) -> Option<DataKey> {
    let salt = Salt::new(HKDF_SHA256, service_key.expose());
    let mut bytes = Zeroizing::new([0; 32]);
    let derived = salt.extract(ticket.as_bytes());
    derived.expand(&[INFO], HMAC_SHA256).ok()?.fill(bytes.as_mut_slice()).ok()?;
    Some(DataKey::new(&bytes, service_key.number()))
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
    fn a_ticket_s_key_is_its_own_and_the_service_s() {
        // By another implementation: Python's `hmac` and `hashlib`, with RFC 5869 written out.
        let service = DataKey::new(&[7; 32], 3);
        let key = key_of("a ticket", &service).expect("a key");
        assert_eq!(
            hex::encode(key.expose()),
            "8afb1c62b9cf2c3a27ccad1ce2d1f99130edd1a1dd1dcb197a688e09f074dab3"
        );
        assert_eq!(key.number(), 3);
        for (ticket, service) in [("another", 7), ("a ticket", 8)] {
            let other = key_of(ticket, &DataKey::new(&[service; 32], 3)).expect("a key");
            assert_ne!(other.expose(), key.expose());
        }
    }

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
