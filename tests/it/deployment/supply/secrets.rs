//! No key, token or password that works is in a tracked file; gitleaks looks at all that was ever committed (`make secrets`).

use super::tracked;
use crate::support::root;

/// What looks like a key and is none: how its body begins, and why.
const PUBLIC: [(&str, &str); 2] = [
    ("MC4CAQAwBQYDK2VwBCIEINTuctv5", "the private key that RFC 8410 prints, section 10.3"),
    ("MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v", "the private key that RFC 8032 prints, section 7.1"),
];

/// How tokens of well-known services begin, and how many letters, digits, `_` and `-` follow at least.
const TOKENS: [(&str, usize); 12] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghs_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("xoxb-", 24),
    ("xoxp-", 24),
    ("AIza", 35),
    ("sk-", 40),
    ("hvs.", 24),
];

fn is_of_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

fn is_of_base64(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '+' || letter == '/'
}

/// What a text holds that nobody but its owner may know.
fn secrets(text: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for part in text.split(concat!("PRIVATE KEY", "-----")).skip(1) {
        let body = part.trim_start_matches(|letter: char| !is_of_base64(letter) && letter != '-');
        let length = body.chars().take_while(|letter| is_of_base64(*letter)).count();
        if length >= 32 && !PUBLIC.iter().any(|(begin, _)| body.starts_with(begin)) {
            found.push("a private key");
        }
    }
    for (begin, length) in TOKENS {
        for (place, _) in text.match_indices(begin) {
            let before = text[..place].chars().next_back();
            let after = text[place + begin.len()..].chars();
            let after: Vec<char> = after.take_while(|letter| is_of_token(*letter)).collect();
            let is_chance = !after.iter().any(char::is_ascii_digit);
            if !before.is_some_and(is_of_token) && after.len() >= length && !is_chance {
                found.push("a token");
            }
        }
    }
    for (place, _) in text.match_indices("eyJ") {
        let token =
            text[place..].chars().take_while(|letter| is_of_token(*letter) || *letter == '.');
        let token: String = token.collect();
        let parts: Vec<&str> = token.split('.').collect();
        if parts.len() == 3 && parts[1].starts_with("eyJ") && parts[2].len() >= 40 {
            found.push("a signed token");
        }
    }
    // A key file of the bridge: a line of 32 bytes in base64. A digest of an example is in hexadecimal.
    for line in text.lines() {
        let is_key =
            line.len() == 44 && line.ends_with('=') && line[..43].chars().all(is_of_base64);
        if is_key && line.chars().collect::<std::collections::BTreeSet<_>>().len() > 12 {
            found.push("a key-encryption key");
        }
    }
    found
}

#[test]
fn no_tracked_file_holds_a_secret() {
    for file in tracked() {
        // Pictures hold no text, and a link that was broken is no file.
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        assert_eq!(secrets(&text), Vec::<&str>::new(), "{file}");
        for ending in [".pem", ".key", ".p12", ".pfx", ".jks", ".env"] {
            assert!(!file.ends_with(ending), "{file} is called like a secret");
        }
        assert!(!file.starts_with("docker/secrets/"), "{file}: the secrets of a trial");
    }
}

#[test]
fn each_kind_of_secret_is_found() {
    let letters = "q7Zb3Kf9Wm2Xc8Vt5Rn1Pj6Hs4Gd0LyTaUeIoBwCxDzE";
    let wire = format!("{}.eyJ{}.{}", "eyJhbGciOiJFZERTQSJ9", &letters[..20], &letters[..43]);
    for (planted, kind) in [
        (format!("-----BEGIN {}-----\n{letters}\n", "PRIVATE KEY"), "a private key"),
        (format!("\"-----BEGIN RSA {}-----\\n{letters}\"", "PRIVATE KEY"), "a private key"),
        (format!("id: AKIA{}", &letters[..16].to_uppercase()), "a token"),
        (format!("{}_{}", "ghp", &letters[..36]), "a token"),
        (format!("key={}-{}", "sk", &letters[..40]), "a token"),
        (wire, "a signed token"),
        (format!("# a comment\n{}=\n", &letters[..43]), "a key-encryption key"),
    ] {
        assert_eq!(secrets(&planted), [kind], "{planted}");
    }
    assert_eq!(secrets("begin with -----BEGIN PRIVATE KEY-----, unencrypted"), Vec::<&str>::new());
}
