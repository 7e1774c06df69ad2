//! Vault, when the settings name one: reached, ours to wrap and unwrap by, and binding what it wraps. Makes a key for
//! that and forgets it.

use tokio::runtime::Handle;
use url::Url;

use crate::app::keys::key_encryptions;
use crate::seal::key_encryption::{KeyEncryption as _, KeyEncryptions};
use crate::seal::key_file::KeyFile;
use crate::settings::Settings;
use crate::vault::Vault;

use super::finding::Findings;
use super::reach::reached;

/// Looks at Vault; gives all that unwraps.
pub(super) async fn look(
    settings: &Settings,
    key_file: Option<KeyFile>,
    findings: &Findings,
) -> Option<KeyEncryptions> {
    let runtime = Handle::current();
    match (&settings.keys.vault.url, Vault::of(&settings.keys.vault, &runtime)) {
        (Some(url), Ok(Some(vault))) => {
            let place = Url::parse(url.expose()).ok();
            let place = place.as_ref().and_then(|url| {
                let host = url.host_str()?.trim_matches(['[', ']']);
                Some((host.to_owned(), url.port_or_known_default()?))
            });
            let is_there = match place {
                Some((host, port)) => reached(findings, &host, port).await,
                None => true,
            };
            if is_there {
                wraps(&vault, url.to_string(), findings).await;
            }
        }
        (_, Err(problem)) => {
            findings.fail("keys.vault", problem, "mend that file");
            return None;
        }
        _ => {}
    }
    key_encryptions(settings, key_file, &runtime).ok()
}

async fn wraps(vault: &Vault, url: String, findings: &Findings) {
    let asked = format!("wrap and unwrap by Vault at {url}");
    let checked = match vault.check().await {
        Ok(()) => vault.active().await,
        Err(problem) => Err(problem),
    };
    match checked {
        Ok(name) => {
            findings.ok(asked, format!("{name} does, and binds what it wraps to its owner"));
        }
        Err(problem) => {
            findings.fail(
                asked,
                problem.to_string(),
                "without it nothing that it has wrapped opens",
            );
        }
    }
}
