//! Keys wrapped by Vault's transit engine: in batches, each for its owner alone; and what is said when it is away, refuses
//! us, or is none.

use actors::lane::UserNumber;
use actors::seal::DataKey;
use assert_cmd::Command;
use biometric_bridge::seal::key_encryption::KeyEncryption as _;
use biometric_bridge::seal::key_ring::WrappedKey;
use biometric_bridge::settings::{Inputs, Loaded};
use biometric_bridge::vault::Vault as Client;
use tempfile::TempDir;

use crate::servers::{Fault, Vault};
use crate::support::{bridge, stderr, stdout};

/// What would be asked, with so little patience.
fn client(vault: &Vault) -> Client {
    let mut variables: Vec<(&str, String)> = vault.variables().into();
    variables.push(("BRIDGE__KEYS__VAULT__TIMEOUT", "2s".to_owned()));
    let inputs = Inputs { development: true, ..Inputs::of_environment(variables) };
    let settings = Loaded::from_layers(&inputs).expect("valid settings").settings;
    let runtime = tokio::runtime::Handle::current();
    Client::of(&settings.keys.vault, &runtime).expect("settings").expect("a Vault")
}

/// A made-up key for each of so many users.
fn keys(count: usize) -> Vec<(UserNumber, DataKey)> {
    let key = |number: usize| {
        let bytes = <[u8; 32]>::try_from([number.to_le_bytes(); 4].concat()).expect("32 bytes");
        (UserNumber(number as i64), DataKey::new(&bytes, 1 + number as u32 % 3))
    };
    (1..=count).map(key).collect()
}

/// A store in a file, sealed by Vault.
struct Place {
    folder: TempDir,
    vault: Vault,
}

impl Place {
    fn new() -> Self {
        let place =
            Self { folder: tempfile::tempdir().expect("a folder"), vault: Vault::stand_in() };
        let made = place.command(&["migrate", "up"]).output().expect("the program starts");
        assert!(made.status.success(), "{}", stderr(&made));
        place
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bridge(arguments);
        command.env_clear().current_dir(self.folder.path()).envs(self.vault.variables());
        command.env("POSTGRES_URL", "sqlite:store.db?mode=rwc");
        command.env("BRIDGE__KEYS__WRAPPER", "vault");
        command.env("BRIDGE__KEYS__VAULT__TIMEOUT", "1s");
        command.env("BRIDGE__SECURITY__ALLOW_PLAINTEXT", "websocket");
        command
    }

    /// Exit code and all that a command says.
    fn said(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().expect("the program starts");
        (output.status.code(), format!("{}{}", stdout(&output), stderr(&output)))
    }
}

#[tokio::test]
async fn many_keys_go_in_batches_and_come_back_in_their_order() {
    let vault = Vault::stand_in();
    let (client, made) = (client(&vault), keys(1_203));
    let wrapped = client.wrap(&made).await.expect("wrapped");
    assert_eq!(vault.sizes(), [500, 500, 203]);
    let all: Vec<&WrappedKey> = wrapped.iter().rev().collect();
    let unwrapped = client.unwrap(&all).await.expect("unwrapped");
    assert_eq!(vault.sizes(), [500, 500, 203]);
    for ((_, key), back) in made.iter().zip(unwrapped.into_iter().rev()) {
        let back = back.expect("it unwraps");
        assert_eq!((back.number(), back.expose()), (key.number(), key.expose()));
    }
    assert!(client.wrap(&[]).await.expect("none").is_empty());
    assert!(client.unwrap(&[]).await.expect("none").is_empty());
    assert!(vault.sizes().is_empty(), "nobody is asked about nothing");
}

#[tokio::test]
async fn a_wrapped_key_unwraps_for_its_owner_number_and_version_only() {
    let vault = Vault::stand_in();
    let client = client(&vault);
    let wrapped = client.wrap(&keys(1)).await.expect("wrapped").remove(0);
    assert_eq!(wrapped.wrapped_by, "vault:transit/biometric-bridge:v1");
    let wrong = [
        WrappedKey { user: UserNumber(2), ..wrapped.clone() },
        WrappedKey { key_number: 1, ..wrapped.clone() },
        WrappedKey {
            wrapped_by: "vault:transit/biometric-bridge:v2".to_owned(),
            ..wrapped.clone()
        },
        WrappedKey { encrypted_key: b"vault:v1:AAAA".to_vec(), ..wrapped.clone() },
        WrappedKey { encrypted_key: b"\"},{\xff".to_vec(), ..wrapped.clone() },
    ];
    let all: Vec<&WrappedKey> = wrong.iter().chain([&wrapped]).collect();
    let unwrapped = client.unwrap(&all).await.expect("an answer");
    let is_good: Vec<bool> = unwrapped.iter().map(Result::is_ok).collect();
    assert_eq!(is_good, [false, false, false, false, false, true]);
    let told = unwrapped[0].as_ref().expect_err("no key").to_string();
    assert!(told.contains("does not unwrap key 2 of user number 2"), "{told}");
    vault.rotate();
    let newer = client.wrap(&keys(1)).await.expect("wrapped").remove(0);
    assert_eq!(newer.wrapped_by, "vault:transit/biometric-bridge:v2");
    assert_eq!(client.active().await.expect("a name"), "vault:transit/biometric-bridge:v2");
    let both = client.unwrap(&[&wrapped, &newer]).await.expect("an answer");
    assert!(both.iter().all(Result::is_ok), "older versions unwrap");
}

#[test]
fn each_fault_of_vault_is_named_with_its_cure_and_without_our_token() {
    let place = Place::new();
    for (fault, wanted) in [
        (Fault::Closed, "is away"),
        (Fault::Sealed, "is sealed or in maintenance (503): unseal it"),
        (
            Fault::Forbidden,
            "refuses our token (403): renew what `keys.vault.token_file` holds, and grant `read` on \
             transit/keys/biometric-bridge",
        ),
        (Fault::Missing, "has no transit/keys/biometric-bridge (404): look at `keys.vault.mount`"),
        (Fault::Elsewhere, "sends us elsewhere (307)"),
        (Fault::Slow, "no answer within 1 s"),
        (Fault::Garbage, "does not speak as Vault's transit engine does"),
        (Fault::Huge, "does not speak as Vault's transit engine does"),
        (Fault::Fewer, "does not speak as Vault's transit engine does"),
        (Fault::ShortKeys, "does not speak as Vault's transit engine does"),
        (Fault::Unbound, "it ignores associated data"),
        (Fault::Echo, "answers 500 on transit/keys/biometric-bridge: look at its log"),
        (Fault::OtherKind, "it is of type rsa-2048; make one of type aes256-gcm96"),
    ] {
        place.vault.fail(Some(fault));
        let (code, said) = place.said(&["keys", "test"]);
        assert_eq!(code, Some(69), "{fault:?}: {said}");
        assert!(said.contains(wanted) && said.contains("keys.vault.url"), "{fault:?}: {said}");
        assert!(!said.contains("s.first-token"), "{fault:?}: {said}");
    }
    place.vault.fail(None);
    let (code, said) = place.said(&["keys", "test"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_token_that_was_renewed_is_taken_without_a_restart() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let vault = Vault::stand_in();
        let client = client(&vault);
        client.check().await.expect("it works");
        vault.renew_token("s.second-token");
        client.check().await.expect("with the new token");
        for (content, wanted) in [
            (Some("s.first-token"), "refuses our token (403)"),
            (Some(""), "which has no token"),
            (Some("s.first\ntoken"), "which has no token"),
            (None, "which cannot be read"),
        ] {
            match content {
                Some(content) => std::fs::write(vault.token_file(), content).expect("written"),
                None => std::fs::remove_file(vault.token_file()).expect("removed"),
            }
            let told = client.check().await.expect_err("no token").to_string();
            assert!(told.contains(wanted) && told.contains("keys.vault.token_file"), "{told}");
            assert!(!told.contains("s.first"), "{told}");
        }
    });
}

#[test]
fn doctor_looks_at_vault_and_says_what_helps() {
    let place = Place::new();
    let (_, said) = place.said(&["doctor"]);
    assert!(said.contains("vault:transit/biometric-bridge:v1 does, and binds"), "{said}");
    assert!(said.contains("KEY_FILE: not set; Vault wraps"), "{said}");
    place.vault.fail(Some(Fault::Sealed));
    let (code, said) = place.said(&["doctor"]);
    assert_eq!(code, Some(69), "{said}");
    let line = said.lines().find(|line| line.contains("wrap and unwrap by Vault"));
    let line = line.unwrap_or_else(|| panic!("it was not asked: {said}"));
    assert!(line.starts_with("FAIL  keys") && line.contains("unseal it"), "{line}");
}

#[test]
fn settings_that_would_leave_keys_unprotected_or_unwrapped_are_refused() {
    let place = Place::new();
    for (variable, value, wanted) in [
        ("BRIDGE__KEYS__VAULT__URL", "http://vault.example:8200", "write https://"),
        ("BRIDGE__KEYS__VAULT__URL", "", "nothing says where it is; set `keys.vault.url`"),
        ("BRIDGE__KEYS__VAULT__URL", "https://v.example/?x=1", "has parameters"),
        ("BRIDGE__KEYS__VAULT__TOKEN_FILE", "", "belong together"),
        ("BRIDGE__KEYS__VAULT__CA_FILE", "/nowhere", "cannot be read"),
        ("BRIDGE__KEYS__VAULT__MOUNT", "/transit/", "a path without slashes at its ends"),
        ("BRIDGE__KEYS__VAULT__KEY", "a/b", "letters, digits, dots"),
        ("BRIDGE__KEYS__WRAPPER", "hsm", "file or vault"),
    ] {
        let mut command = place.command(&["config", "check"]);
        command.env("BRIDGE__HTTP__TLS__CERTIFICATE_FILE", "/dev/null");
        command.env("BRIDGE__HTTP__TLS__KEY_FILE", "/dev/null");
        let output = command.env(variable, value).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(78), "{variable}={value}");
        assert!(stderr(&output).contains(wanted), "{variable}={value}: {}", stderr(&output));
    }
    let (_, said) = place.said(&["keys", "list", "--set", "keys.wrapper=file"]);
    assert!(said.contains("there is no key file"), "{said}");
    std::fs::write(place.folder.path().join("ca.crt"), "no PEM").expect("written");
    let (_, said) = place.said(&["keys", "list", "--set", "keys.vault.ca_file=ca.crt"]);
    assert!(
        said.contains("`keys.vault.ca_file` names ca.crt, which has no certificates"),
        "{said}"
    );
}
