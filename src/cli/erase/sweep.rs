//! What is left of an erased person when their lane's owner has done its part: rows, dead letters, the cache. Each
//! can be done again. Nothing here opens anything of the person but to find out that it is theirs.

use actors::dead_letter::Letter;
use actors::lane::{Lane, UserNumber};
use actors::seal::KeyRing as _;
use neuros::time::Timestamp;
use tokio::runtime::Handle;

use super::Erasing;
use crate::app::now;
use crate::cache;
use crate::cli::asking::progress;
use crate::cli::failure::Failure;
use crate::letters::{Found, Owner};
use crate::store::{KeyFact, Swept};

/// Dead letters that are opened at once; each may have the size of the largest message.
const LETTERS_PAGE: i64 = 64;

/// What a sweep has come to.
pub(super) struct Sweep {
    /// The person, if anybody knows them.
    pub(super) user: Option<UserNumber>,
    /// Since when they are erased.
    pub(super) erased_at: Option<Timestamp>,
    /// Their keys, all of them destroyed.
    pub(super) keys: Vec<KeyFact>,
    pub(super) rows: Swept,
    pub(super) letters: Letters,
    pub(super) cache: Cleared,
}

/// What became of dead letters.
#[derive(Default)]
pub(super) struct Letters {
    /// The person's.
    pub(super) destroyed: u64,
    /// Of whom nobody can tell whose they are.
    pub(super) of_nobody: u64,
}

/// What became of the cache.
pub(super) enum Cleared {
    None,
    Done,
    Away(String),
}

impl Erasing<'_> {
    pub(super) async fn sweep(&self) -> Result<Sweep, Failure> {
        let (mut keys, mut rows) = (Vec::new(), Swept::default());
        let stored = self.stored().await?;
        let user = stored.as_ref().map(|stored| stored.user);
        if let Some(user) = user {
            keys = self.destroyed_keys(user).await?;
            rows = self.asking.store.sweep_erased(user).await?;
        }
        let letters = self.destroy_letters(user).await?;
        let erased_at = self.asking.store.erased_at(self.user_id).await?;
        Ok(Sweep { user, erased_at, keys, rows, letters, cache: self.clear_cache().await })
    }

    /// A person's keys, when all of them are destroyed.
    async fn destroyed_keys(&self, user: UserNumber) -> Result<Vec<KeyFact>, Failure> {
        let opened = &self.asking.opened;
        let facts = opened.key_store.key_facts(user).await?;
        let readable = facts.iter().filter(|fact| fact.destroyed_at.is_none()).count();
        let readable = match opened.keys.keys_of(&[user]).await {
            Ok(keys) => readable + keys.iter().flatten().count(),
            Err(error) => return Err(Failure::Unavailable(error.to_string())),
        };
        if readable > 0 {
            return Err(Failure::Unavailable(format!(
                "{readable} keys can still be read: somebody has made one meanwhile; do this again"
            )));
        }
        Ok(facts)
    }

    /// Opens every dead letter: the service's own key has sealed them, and whose they are stands only in them.
    async fn destroy_letters(&self, user: Option<UserNumber>) -> Result<Letters, Failure> {
        let store = &self.asking.store;
        let owner = Owner { user_id: self.user_id, user };
        let service_key = self.asking.opened.keys.newest_service_key().await;
        let service_key = service_key.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let bar = progress(store.count_sealed_letters().await?, "dead letters");
        let (mut letters, mut after) = (Letters::default(), (Lane(i32::MIN), 0));
        loop {
            let page = store.sealed_letters(after, LETTERS_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.letter.lane, last.letter.number);
            let mut theirs: Vec<Letter> = Vec::new();
            for letter in &page {
                match owner.look_into(letter, &self.asking.seal, &service_key) {
                    Found::Theirs(_) => theirs.push(letter.letter),
                    Found::Nobodys => letters.of_nobody += 1,
                    Found::Others => {}
                }
            }
            letters.destroyed += store.destroy_letters(&theirs, now()).await?;
            bar.inc(page.len() as u64);
        }
        bar.finish_and_clear();
        Ok(letters)
    }

    async fn clear_cache(&self) -> Cleared {
        if self.settings.redis.url.is_none() {
            return Cleared::None;
        }
        let cache = match cache::open(&self.settings.redis, &Handle::current()) {
            Ok(cache) => cache,
            // The text of a server's error may quote a key.
            Err(error) => return Cleared::Away(format!("{:?}", error.kind())),
        };
        match cache.forget(self.user_id).await {
            Ok(()) => Cleared::Done,
            Err(error) => Cleared::Away(error.to_string()),
        }
    }
}
