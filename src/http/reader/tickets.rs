//! Tickets for sockets, for browsers, which cannot send a token when they open one: each is good once, for half a
//! minute, at any instance. Neither kept nor logged in the clear.

use actors::phi::Phi;
use actors::seal::{Place, open_own};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use neuros::time::{Micros, Timestamp};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::archive::{Archive, Opened, Unread, told};
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
        let (opened, identity) = (self.opened()?, Phi::new(identity.to_bytes()));
        let (digest, runtime) = (digest_of(&ticket), opened.runtime.clone());
        let kept = runtime.spawn(async move {
            let key = opened.keys.newest_service_key().await?;
            let sealed = opened.seal.seal(&key, place(&digest), &identity);
            let now = now();
            let end = now + Micros::from_seconds(SECONDS);
            opened.store.keep_ticket(&digest, sealed.0, end, now).await?;
            Ok::<(), Unread>(())
        });
        match kept.await {
            Ok(kept) => kept.map(|()| ticket).map_err(told),
            Err(_) => Err(Problem::unavailable("the service is ending")),
        }
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
        let (opened, digest) = (self.opened()?, digest_of(ticket));
        let runtime = opened.runtime.clone();
        let taken = runtime.spawn(async move { take(&opened, &digest, now()).await });
        match taken.await {
            Ok(taken) => taken.map_err(told),
            Err(_) => Err(Problem::unavailable("the service is ending")),
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

fn digest_of(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket.as_bytes()).into()
}

fn place(digest: &[u8; 32]) -> Place {
    let record = digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    Place { table: "socket_tickets", column: "identity", user: 0, record }
}
