//! A person's key in the memory of processes: there once, with the owner of their lane, and after the receipt
//! nowhere.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use actors::seal::KeyRing as _;
use actors::store::{Asked, Store as _};
use biometric_bridge::app::StoredKeys;
use biometric_bridge::seal::file_encryption::FileEncryption;
use biometric_bridge::seal::key_encryption::KeyEncryptions;
use biometric_bridge::seal::key_file::KeyFile;
use biometric_bridge::seal::key_ring::StoredKeyRing;
use biometric_bridge::store::{Options, open};

use super::sign;
use crate::servers::Server as _;
use crate::service::feed::Flow;
use crate::service::site::{Site, Stamps};

const USERS: usize = 30;

/// How long a process may hold a key after the receipt, at most.
const LOOKS: usize = 60;

fn key_of(site: &Site<'_>, user_id: &str) -> [u8; 32] {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(&site.database, &Options::default()).await.expect("it opens");
        let users = store.users(Asked::Ids(&[user_id])).await.expect("an answer");
        let keys = StoredKeys::new(Arc::clone(&store), runtime.handle().clone());
        let file = KeyFile::read(Path::new(&site.key_file)).expect("a key file");
        let file = FileEncryption::new(file, Default::default());
        let ring = StoredKeyRing::new(Arc::new(keys), KeyEncryptions::new(Arc::new(file), None));
        let keys = ring.keys_of(&[users[0].user]).await.expect("keys");
        let key = *keys[0].as_ref().expect("a key").expose();
        store.close().await;
        key
    })
}

#[test]
fn no_process_holds_the_key_of_somebody_who_was_erased() {
    let Some(mut site) = Site::shared(Stamps::Producer) else { return };
    sign(&mut site);
    let instances = [site.start(), site.start()];
    instances.iter().for_each(|instance| instance.wait_some_lanes());
    let flow = Flow::default();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| flow.run(&site, USERS));
        let ends = flow.ends();
        site.wait_more(600);
        let (key, other) = (key_of(&site, "user-5"), key_of(&site, "user-6"));
        let held = |key: &[u8; 32]| {
            instances.each_ref().map(|instance| instance.process().memory_holds(key))
        };
        assert!(held(&key).iter().sum::<usize>() > 0, "its lane's owner has it");
        site.run(&["erase", "user-5"]);
        // What a seal has left on a stack the next seal overwrites.
        let mut looks = 0;
        while held(&key) != [0, 0] {
            looks += 1;
            assert!(looks < LOOKS, "the key is in memory still: {:?} times", held(&key));
            sleep(Duration::from_secs(1));
        }
        assert!(held(&other).iter().sum::<usize>() > 0, "of the others nothing is forgotten");
        drop(ends);
        sending.join().expect("sending does not panic");
    });
    instances.iter().for_each(crate::servers::Bridge::end);
}
