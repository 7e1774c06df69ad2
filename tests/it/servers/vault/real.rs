//! A real Vault, whose program `BRIDGE_VAULT` names: in memory, unsealed, with the transit engine and one key.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::process::{Process, Recipe, tied_to_us};
use super::{folder, listens};

/// The token that may do everything.
pub(super) const ROOT: &str = "root-token-of-the-tests";

/// A development server of Vault.
pub(super) struct Real {
    process: Process,
    url: String,
    key: &'static str,
}

impl Real {
    pub(super) fn start(program: &Path, port: u16, key: &'static str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = program.to_owned();
        let (home, root) = (folder(), format!("-dev-root-token-id={ROOT}"));
        let command = move || {
            let mut command = tied_to_us(&program, "KILL", &[]);
            command.args(["server", "-dev", "-dev-no-store-token", &root]);
            command.arg(format!("-dev-listen-address={address}"));
            command.env("HOME", home.path());
            command
        };
        let recipe = Recipe {
            name: "Vault",
            command: Box::new(command),
            is_ready: Box::new(move || listens(address)),
            stop: Signal::TERM,
            end: Signal::KILL,
        };
        let process = Process::new(recipe, folder()).unwrap_or_else(|reason| panic!("{reason}"));
        let real = Self { process, url: format!("http://{address}"), key };
        real.ask("sys/mounts/transit", &json!({ "type": "transit" }));
        real.ask(&format!("transit/keys/{key}"), &json!({ "type": "aes256-gcm96" }));
        real
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn rotate(&self) {
        self.ask(&format!("transit/keys/{}/rotate", self.key), &json!({}));
    }

    pub(super) fn seal(&self) {
        self.ask("sys/seal", &json!({}));
    }

    pub(super) fn unseal(&self) {
        let log = self.process.log();
        let key = log.lines().find_map(|line| line.strip_prefix("Unseal Key: "));
        self.ask("sys/unseal", &json!({ "key": key.expect("it says its key").trim() }));
    }

    fn ask(&self, path: &str, body: &Value) {
        let url = format!("{}/v1/{path}", self.url);
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
        let request = ureq::Agent::new_with_config(config.build()).post(&url);
        let answer = request.header("x-vault-token", ROOT).send(body.to_string());
        answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}
