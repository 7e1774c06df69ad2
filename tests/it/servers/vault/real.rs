//! A real Vault, whose program `BRIDGE_VAULT` names: in memory, unsealed, with the transit engine, one key, and a token
//! that may do what docs/security.md says and no more.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::super::process::{Process, Recipe, tied_to_us};
use super::{folder, listens};
use crate::support::{read, root};

/// The token that may do everything.
const ROOT: &str = "root-token-of-the-tests";

/// A development server of Vault.
pub(super) struct Real {
    process: Process,
    url: String,
    key: &'static str,
    token: String,
}

impl Real {
    pub(super) fn start(program: &Path, port: u16, key: &'static str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = program.to_owned();
        let (home, token) = (folder(), format!("-dev-root-token-id={ROOT}"));
        let command = move || {
            let mut command = tied_to_us(&program, "KILL", &[]);
            command.args(["server", "-dev", "-dev-no-store-token", &token]);
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
        let (url, token) = (format!("http://{address}"), String::new());
        let mut real = Self { process, url, key, token };
        real.ask("sys/mounts/transit", &json!({ "type": "transit" }));
        real.ask(&format!("transit/keys/{key}"), &json!({ "type": "aes256-gcm96" }));
        let document = read(&root().join("docs/security.md"));
        let policy = document.split("```hcl\n").nth(1).and_then(|rest| rest.split("```").next());
        real.ask("sys/policies/acl/bridge", &json!({ "policy": policy.expect("a policy") }));
        let made = real.ask("auth/token/create", &json!({ "policies": ["bridge"] }));
        real.token = made["auth"]["client_token"].as_str().expect("a token").to_owned();
        real
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn token(&self) -> &str {
        &self.token
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

    fn ask(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/v1/{path}", self.url);
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
        let request = ureq::Agent::new_with_config(config.build()).post(&url);
        let answer = request.header("x-vault-token", ROOT).send(body.to_string());
        let mut answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).unwrap_or_default()
    }
}
