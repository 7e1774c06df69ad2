//! `doctor`: looks at everything that the service needs, and says what is wrong and what helps. Changes
//! nothing and prints no secret.

mod cache;
mod finding;
mod kafka;
mod local;
mod push;
mod reach;
mod store;
mod vault;

use std::io::{self, BufWriter};
use std::time::Duration;

use clap::Args;

use super::config::Layers;
use super::failure::Failure;
use super::servers::block_on;
use crate::settings::{Faults, Loaded};
use finding::{Finding, Findings, Status};

/// Looks at everything that the service needs, and says what is wrong and what helps.
///
/// Settings, policy, key file, Vault, port; Kafka, the database, Redis and the peer that mode changes are pushed to:
/// resolved, connected to, logged in to and asked. One line for each, all of them even when one fails. Changes nothing.
#[derive(Args)]
#[command(after_help = "Examples:
  biometric-bridge doctor
  biometric-bridge doctor --json | jq '.checks[] | select(.status == \"fail\")'
  biometric-bridge doctor --set kafka.bootstrap_servers=kafka:9093

Exit code 0 when nothing fails, else 69.")]
pub(super) struct Arguments {
    /// One JSON object for machines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layers: Layers,
}

/// How long one part may take with all its questions.
const PATIENCE: Duration = Duration::from_secs(12);

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (loaded, faults) = arguments.layers.examine(&[]);
    let findings = block_on(async { Ok(look(&loaded, &faults).await) })?;
    let mut output = BufWriter::new(io::stdout().lock());
    match arguments.json {
        true => finding::print_json(&findings, &mut output)?,
        false => finding::print(&findings, &mut output)?,
    }
    io::Write::flush(&mut output)?;
    let failed = findings.iter().filter(|finding| finding.status == Status::Fail).count();
    match failed {
        0 => Ok(()),
        failed => {
            Err(Failure::Unavailable(format!("{failed} of {} checks failed", findings.len())))
        }
    }
}

async fn look(loaded: &Loaded, faults: &Faults) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut all = local::settings(loaded, faults);
    all.extend(local::policy(settings.policy.file.as_deref()));
    // A wrong word about protection would otherwise send a secret in the clear.
    let valid = |section| !faults.0.iter().any(|fault| fault.is_within(&[section, "security"]));
    let (key_file, found) = local::keys(settings);
    all.extend(found);
    let findings = Findings::of("keys");
    let keys = match valid("keys") {
        true => vault::look(settings, key_file, &findings).await,
        false => None,
    };
    all.extend(findings.into_found());
    all.extend(local::audit(settings));
    let store = async {
        let findings = Findings::of(store::part(settings));
        let look = store::look(settings, keys.as_ref(), &findings);
        asked(valid("store"), &findings, look).await;
        findings.into_found()
    };
    let kafka = async {
        let findings = Findings::of("kafka");
        asked(valid("kafka"), &findings, kafka::look(settings, &findings)).await;
        findings.into_found()
    };
    let cache = async {
        let findings = Findings::of("redis");
        asked(valid("redis"), &findings, cache::look(settings, &findings)).await;
        findings.into_found()
    };
    let peer = async {
        let findings = Findings::of("push");
        asked(valid("push"), &findings, push::look(settings, &findings)).await;
        findings.into_found()
    };
    let listening = settings.clone();
    let port = tokio::task::spawn_blocking(move || local::port(&listening));
    let (store, kafka, cache, peer, port) = tokio::join!(store, kafka, cache, peer, port);
    all.extend(store.into_iter().chain(kafka).chain(cache).chain(peer));
    all.extend(port.unwrap_or_default());
    all
}

/// Asks a part whose settings are valid, within bounds.
async fn asked(is_valid: bool, findings: &Findings, look: impl Future<Output = ()>) {
    if !is_valid {
        return findings.not_asked();
    }
    if tokio::time::timeout(PATIENCE, look).await.is_err() {
        let answer = format!("nothing more within {} s", PATIENCE.as_secs());
        findings.fail("all of it", answer, "look at the server's load and at the network");
    }
}
