//! Tokens of our own, for operators of small installations: random, made by us, known by their digests
//! alone. Whoever reads the file cannot ask with what stands in it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::{AUDITOR, CARE, Change, Identity, OPERATOR, OPERATOR_NAME, Scopes};
use crate::http::watched::Watched;
use crate::seal::{NoRandomness, fill_random};

/// What every token of ours begins with, so that one that was lost is found by searching for it.
pub(super) const PREFIX: &str = "bbt_";

/// What is known of a token.
pub(super) type Digest = [u8; DIGEST_BYTES];

const DIGEST_BYTES: usize = 32;
const NAME_BYTES_MAX: usize = 64;

/// Whoever may ask with a token of ours.
struct Operator {
    name: String,
    digest: Digest,
    scopes: Scopes,
}

/// The tokens of a file.
pub(super) struct OperatorTokens {
    file: Watched,
    known: RwLock<Vec<Operator>>,
}

impl OperatorTokens {
    /// The tokens in `path`.
    ///
    /// # Errors
    ///
    /// One sentence that names the file and the line.
    pub(super) fn read(path: PathBuf) -> Result<Self, String> {
        let file = Watched::new("auth.tokens_file", path);
        let known = RwLock::new(parse(&file)?);
        Ok(Self { file, known })
    }

    /// Reads the file again; one that cannot be read changes nothing, nor does one of which it cannot be written
    /// down that it does.
    pub(super) async fn refresh(&self, is_written: impl AsyncFn(Change) -> bool) {
        if !self.file.look() {
            return;
        }
        let known = match parse(&self.file) {
            Ok(known) => known,
            Err(problem) => {
                tracing::warn!(%problem, "tokens stay as they were read before");
                return;
            }
        };
        let said = said(&known);
        let is_same =
            said == self::said(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        if is_same || is_written(Change { setting: self.file.setting(), now: said }).await {
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        } else {
            self.file.look_again();
        }
    }

    /// Whose token it is.
    pub(super) fn find(&self, token: &str) -> Option<Identity> {
        self.of_digest(&Sha256::digest(token.as_bytes()).into())
    }

    /// Whose token has that digest. Takes as long whichever it is, or none.
    pub(super) fn of_digest(&self, digest: &Digest) -> Option<Identity> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for operator in known.iter() {
            let is_it: Choice = operator.digest.ct_eq(digest);
            if bool::from(is_it) {
                found = Some(operator);
            }
        }
        found.map(|operator| Identity {
            name: format!("{OPERATOR_NAME}{}", operator.name),
            subject: None,
            scopes: operator.scopes.clone(),
            until: None,
            digest: Some(operator.digest),
        })
    }
}

/// Who may ask with tokens of ours, for the log of accesses: names, how the digests begin, and scopes.
fn said(known: &[Operator]) -> Vec<String> {
    let one = |Operator { name, digest, scopes }: &Operator| {
        let [a, b, c, d, ..] = digest;
        format!("{name} {a:02x}{b:02x}{c:02x}{d:02x} {scopes}")
    };
    known.iter().map(one).collect()
}

/// A token, shown once, and its line for the file.
pub struct NewToken {
    /// The token.
    pub token: Zeroizing<String>,
    /// What the file needs to know of it.
    pub line: String,
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// The name or a scope is none.
    #[error("{0}")]
    Wrong(String),
    /// The system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl NewToken {
    /// A new token of that name with those scopes.
    ///
    /// # Errors
    ///
    /// See [`NoToken`].
    pub fn new(name: &str, scopes: &[String]) -> Result<Self, NoToken> {
        checked(name, scopes.iter().map(String::as_str)).map_err(NoToken::Wrong)?;
        let mut bytes = Zeroizing::new([0; 32]);
        fill_random(bytes.as_mut_slice())?;
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let mut line = format!("{name} ");
        for byte in Sha256::digest(token.as_bytes()) {
            // A text takes whatever is written to it.
            let _written = write!(line, "{byte:02x}");
        }
        Ok(Self { token: Zeroizing::new(token), line: format!("{line} {}", scopes.join(" ")) })
    }
}

/// Reads the file of tokens: `name digest scopes…` a line; empty lines and those that begin with `#` say
/// nothing.
fn parse(file: &Watched) -> Result<Vec<Operator>, String> {
    let content = file.content()?;
    let text = std::str::from_utf8(&content).map_err(|_| file.told("which is no UTF-8 text"))?;
    let mut operators: Vec<Operator> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |problem: String| {
            let cure = "`biometric-bridge tokens new` makes such lines";
            file.told(&format!("line {}: {problem}; {cure}", index + 1))
        };
        let operator = parse_line(line).map_err(wrong)?;
        if operators.iter().any(|above| above.name == operator.name) {
            return Err(wrong("the name is taken by a line above".to_owned()));
        }
        operators.push(operator);
    }
    Ok(operators)
}

fn parse_line(line: &str) -> Result<Operator, String> {
    let mut words = line.split_ascii_whitespace();
    let (name, digest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    checked(name, words.clone())?;
    let digest = digest_of(digest).ok_or_else(|| {
        "the second word is no SHA-256 digest of 64 hexadecimal digits".to_owned()
    })?;
    Ok(Operator { name: name.to_owned(), digest, scopes: Scopes::of(words) })
}

fn digest_of(text: &str) -> Option<Digest> {
    let mut digest = [0; DIGEST_BYTES];
    if text.len() != DIGEST_BYTES * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

fn checked<'w>(name: &str, scopes: impl Iterator<Item = &'w str>) -> Result<(), String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_legal) {
        return Err(format!(
            "a name has 1 to {NAME_BYTES_MAX} letters, digits, dots, underscores and hyphens"
        ));
    }
    let mut count = 0;
    for scope in scopes {
        let is_care = scope.strip_prefix(CARE).is_some_and(|user_id| !user_id.is_empty());
        let is_one_word = !scope.contains(char::is_whitespace);
        if !(matches!(scope, OPERATOR | AUDITOR) || is_care) || !is_one_word {
            return Err(format!(
                "a scope is {OPERATOR}, {AUDITOR} or {CARE}USER without spaces; who has a token of ours is \
                 no user and has no `self`"
            ));
        }
        count += 1;
    }
    if count == 0 { Err(format!("it has no scope, such as {OPERATOR}")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn new(name: &str, words: &[&str]) -> NewToken {
        NewToken::new(name, &scopes(words)).expect("valid")
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[tokio::test]
    async fn a_token_is_known_by_its_line_until_that_is_taken_away() {
        let (ops, care) = (new("ops", &["operator"]), new("nurse", &["care:u1", "care:u2"]));
        let (_folder, path) = file(&format!("# who\n\n{}\n  {}\n", ops.line, care.line));
        let tokens = OperatorTokens::read(path.clone()).expect("valid");
        let found = tokens.find(&ops.token).expect("known");
        assert!(found.name() == "token ops" && found.may_see("anybody"));
        let found = tokens.find(&care.token).expect("known");
        assert!(found.may_see("u2") && !found.may_see("u3"));
        assert!(tokens.find("bbt_").is_none() && tokens.find(&ops.line).is_none());
        let digest = ops.line.split(' ').nth(1).expect("a digest");
        assert!(tokens.find(digest).is_none(), "what stands in the file opens nothing");
        std::fs::write(&path, "nonsense").expect("written");
        tokens.refresh(async |_| panic!("nothing changes")).await;
        assert!(tokens.find(&ops.token).is_some(), "a file that is broken changes nothing");
        std::fs::write(&path, &care.line).expect("written");
        tokens.refresh(async |_| false).await;
        assert!(tokens.find(&ops.token).is_some(), "as long as it cannot be written down");
        let told = std::cell::RefCell::new(Vec::new());
        let is_written = async |change: Change| {
            told.borrow_mut().extend(change.now);
            true
        };
        tokens.refresh(&is_written).await;
        let digest = &care.line.split(' ').nth(1).expect("a digest")[..8];
        assert_eq!(told.take(), [format!("nurse {digest} care:u1 care:u2")]);
        std::fs::write(&path, format!("# again\n{}", care.line)).expect("written");
        tokens.refresh(&is_written).await;
        tokens.refresh(&is_written).await;
        assert!(told.take().is_empty(), "nobody may see more or less");
        assert!(tokens.find(&ops.token).is_none() && tokens.find(&care.token).is_some());
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (new("a", &["operator"]), new("a", &["operator"]));
        assert_ne!(*one.token, *other.token);
        assert_eq!(one.token.len(), PREFIX.len() + 43, "32 bytes");
        assert!(!one.line.contains(&one.token[PREFIX.len()..]));
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_quoted_nowhere() {
        let digest = "0".repeat(64);
        for (text, said) in [
            (format!("ops {digest}"), "line 1: it has no scope"),
            (format!("\nops {digest} self"), "line 2: a scope is operator"),
            (format!("ops {digest} care:"), "a scope is operator"),
            (format!("o/ps {digest} operator"), "a name has 1 to 64"),
            ("ops bbt_canary operator".to_owned(), "no SHA-256 digest"),
            (format!("ops {} operator", "g".repeat(64)), "no SHA-256 digest"),
            (format!("ops {digest} operator\nops {digest} auditor"), "line 2: the name is taken"),
            ("x".repeat((1 << 20) + 2), "it is longer than"),
        ] {
            let (_folder, path) = file(&text);
            let problem = OperatorTokens::read(path).map(|_| ()).expect_err("refused");
            assert!(problem.contains(said) && !problem.contains("canary"), "{problem}");
        }
        let missing = OperatorTokens::read("/nowhere/tokens".into()).map(|_| ());
        assert!(missing.expect_err("refused").contains("cannot be read"));
    }
}
