//! Who asks: by a signed token (JWT) of an issuer that the settings name, or by a token of our own for
//! operators. Decides about nobody's data, and neither shows nor keeps a token.

mod kept;
mod keys;
pub(super) mod operators;
mod signed;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use actix_web::http::header::{AUTHORIZATION, HOST, HeaderMap};
use actix_web::http::uri::Authority;
use neuros::time::Timestamp;

use self::operators::{Digest, OperatorTokens, PREFIX};
use self::signed::Signed;
use super::problem::Problem;
use crate::settings::Settings;

/// Who asks, and what for they may.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// As the log of accesses has them.
    name: String,
    /// The user that they are, if they are one.
    subject: Option<String>,
    scopes: Scopes,
    /// When their token ends, if it does.
    until: Option<Timestamp>,
    /// The digest of their token, if it is one of ours.
    digest: Option<Digest>,
}

impl Identity {
    /// Who asks, as the log of accesses has them.
    pub(super) fn name(&self) -> &String {
        &self.name
    }

    /// Whether they may see everybody's health data.
    pub(super) fn may_see_everybody(&self) -> bool {
        self.scopes.operator
    }

    /// When nobody knows them any more, if at some time.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Whether they may see the health data of a user.
    pub(super) fn may_see(&self, user_id: &str) -> bool {
        let Scopes { own, cares, operator } = &self.scopes;
        *operator || cares.contains(user_id) || (*own && self.subject.as_deref() == Some(user_id))
    }

    /// Whether they look after everybody.
    pub(super) fn is_operator(&self) -> bool {
        self.scopes.operator
    }

    /// Whoever works on this machine, when nothing else is set up.
    fn development() -> Self {
        let scopes = Scopes { operator: true, ..Scopes::default() };
        let name = "development".to_owned();
        Self { name, subject: None, scopes, until: None, digest: None }
    }
}

/// What somebody may. `auditor`, and whatever is not known, lets nobody see health data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scopes {
    /// Their own data.
    own: bool,
    /// The data of these users.
    cares: BTreeSet<String>,
    /// Everybody's.
    operator: bool,
}

/// What the names begin with of those who have a token of ours; the others' begin with another word.
const OPERATOR_NAME: &str = "token ";
const SELF: &str = "self";
const OPERATOR: &str = "operator";
const AUDITOR: &str = "auditor";
const CARE: &str = "care:";

impl Scopes {
    /// What words with spaces between say. What comes behind a `care:` may be the rest of an id with a space in
    /// it, which people may choose themselves: there it is no scope, unless it is a `care:` again.
    fn of_text(text: &str) -> Self {
        let mut is_behind = false;
        Self::of(text.split(' ').filter(|word| {
            let is_care = word.starts_with(CARE);
            is_behind |= is_care;
            is_care || !is_behind
        }))
    }

    fn of<'w>(words: impl Iterator<Item = &'w str>) -> Self {
        let mut scopes = Self::default();
        for word in words {
            match (word, word.strip_prefix(CARE)) {
                (SELF, _) => scopes.own = true,
                (OPERATOR, _) => scopes.operator = true,
                (_, Some(user_id)) => {
                    scopes.cares.insert(user_id.to_owned());
                }
                _ => {}
            }
        }
        scopes
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.then(|| SELF.to_owned());
        let operator = self.operator.then(|| OPERATOR.to_owned());
        let cares = self.cares.iter().map(|user_id| format!("{CARE}{user_id}"));
        let words: Vec<String> = own.into_iter().chain(operator).chain(cares).collect();
        f.write_str(if words.is_empty() { AUDITOR } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

/// A file says otherwise who may see what.
pub(super) struct Change {
    /// The setting that names it.
    pub(super) setting: &'static str,
    /// What it says, without anything secret.
    pub(super) now: Vec<String>,
}

/// Why nobody knows who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is nothing by which anybody could be known.
    Unconfigured,
    /// There is no token.
    Missing,
    /// It is none that is known here, or not even a token.
    Unknown,
    /// It is signed in a way that is not allowed.
    Algorithm,
    /// It asks for something that is not understood.
    Critical,
    /// It is of another kind.
    Type,
    /// The issuer has no such key.
    Key,
    /// It was not signed with that key.
    Signature,
    /// It is from somebody else.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// It was good until some time ago.
    Expired,
    /// It will be good later.
    NotYetValid,
    /// It does not say what it must.
    Claims,
    /// The issuer's keys cannot be had.
    KeysAway,
    /// In development: it was asked for by a name that is not this machine's.
    Host,
}

impl Refused {
    /// Every reason.
    pub(super) const ALL: [Self; 15] = [
        Self::Unconfigured,
        Self::Missing,
        Self::Unknown,
        Self::Algorithm,
        Self::Critical,
        Self::Type,
        Self::Key,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::Claims,
        Self::KeysAway,
        Self::Host,
    ];

    /// The reason in one word, in metrics, in the log of accesses and in answers.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Unconfigured => "unconfigured",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Algorithm => "algorithm",
            Self::Critical => "critical",
            Self::Type => "type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Claims => "claims",
            Self::KeysAway => "keys_away",
            Self::Host => "host",
        }
    }

    /// The answer.
    pub(super) fn problem(self) -> Problem {
        const CHALLENGE: &str = "Bearer realm=\"biometric-bridge\"";
        const INVALID: &str = "Bearer realm=\"biometric-bridge\", error=\"invalid_token\"";
        match self {
            Self::Unconfigured => {
                let detail = "nobody can be known here yet: set `auth.issuer`, `auth.audience` and \
                              `auth.jwks_url`, or `auth.tokens_file`";
                Problem::unauthorized(detail.to_owned(), CHALLENGE)
            }
            Self::Missing => {
                let detail = "send a token: `Authorization: Bearer TOKEN`, once";
                Problem::unauthorized(detail.to_owned(), CHALLENGE)
            }
            Self::Host => {
                let detail = "in development ask for localhost or 127.0.0.1";
                Problem::unauthorized(detail.to_owned(), CHALLENGE)
            }
            Self::KeysAway => Problem::unavailable("the keys that tokens are signed with are away"),
            refused => {
                let detail = format!("the token is not accepted: {}", refused.as_str());
                Problem::unauthorized(detail, INVALID)
            }
        }
    }
}

/// Knows people by their tokens.
pub(super) struct Authentication {
    signed: Option<Signed>,
    operators: Option<OperatorTokens>,
    /// Without tokens of either kind, whoever is on this machine may see everything.
    development: bool,
}

impl Authentication {
    /// What the settings say.
    ///
    /// # Errors
    ///
    /// One sentence that names the file and the cure.
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let auth = &settings.auth;
        let operators = auth.tokens_file.clone().map(OperatorTokens::read).transpose()?;
        let signed = Signed::of(auth)?;
        Ok(Self { signed, operators, development: settings.development })
    }

    /// Whether whoever is on this machine may see everything.
    pub(super) fn is_open(&self) -> bool {
        self.development && self.signed.is_none() && self.operators.is_none()
    }

    /// Who sends these headers.
    ///
    /// # Errors
    ///
    /// Why that is not known.
    pub(super) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Refused> {
        if self.is_open() {
            return if is_near(headers) { Ok(Identity::development()) } else { Err(Refused::Host) };
        }
        if self.signed.is_none() && self.operators.is_none() {
            return Err(Refused::Unconfigured);
        }
        let token = bearer(headers)?;
        if token.starts_with(PREFIX) {
            let found = self.operators.as_ref().and_then(|operators| operators.find(token));
            return found.ok_or(Refused::Unknown);
        }
        match &self.signed {
            Some(signed) => signed.identify(token).await,
            None => Err(Refused::Unknown),
        }
    }

    /// Whether somebody who was known still is: a signed token is good to its end, one of our own as long as that very
    /// token is there with the same scopes.
    pub(super) fn still_knows(&self, identity: &Identity) -> bool {
        if identity.until.is_some_and(|until| until < crate::app::now()) {
            return false;
        }
        match &identity.digest {
            Some(digest) => {
                let operators = self.operators.as_ref();
                operators.and_then(|operators| operators.of_digest(digest)).as_ref()
                    == Some(identity)
            }
            // A ticket of an earlier release does not say which token it was.
            None => !identity.name.starts_with(OPERATOR_NAME),
        }
    }

    /// Looks for new keys and tokens where they come from. Those of files count once `is_written` has said that
    /// the change is in the log of accesses; until then those from before do, and it is tried again.
    pub(super) async fn refresh(&self, is_written: impl AsyncFn(Change) -> bool) {
        if let Some(operators) = &self.operators {
            operators.refresh(&is_written).await;
        }
        if let Some(signed) = &self.signed {
            signed.refresh(&is_written).await;
        }
    }
}

/// Whether this machine is asked for by a name of its own. A page in a developer's browser can let its own name lead
/// here, and would then be taken for this service's.
fn is_near(headers: &HeaderMap) -> bool {
    let asked = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    asked.is_some_and(|asked| {
        let host = asked.host().trim_matches(['[', ']']);
        let address = host.parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

/// The one token of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut given = headers.get_all(AUTHORIZATION);
    let (Some(value), None) = (given.next(), given.next()) else { return Err(Refused::Missing) };
    let value = value.to_str().map_err(|_| Refused::Missing)?;
    let (scheme, token) = value.split_once(' ').ok_or(Refused::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refused::Missing);
    }
    Ok(token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_see(scopes: &[&str], subject: Option<&str>) -> Vec<bool> {
        let scopes = Scopes::of(scopes.iter().copied());
        let subject = subject.map(str::to_owned);
        let name = "n".to_owned();
        let identity = Identity { name, subject, scopes, until: None, digest: None };
        ["me", "you", "they"].map(|user_id| identity.may_see(user_id)).to_vec()
    }

    #[test]
    fn scopes_say_whose_data_may_be_seen_and_nothing_else_does() {
        for (scopes, sees) in [
            (&[][..], [false, false, false]),
            (&["self"], [true, false, false]),
            (&["care:you"], [false, true, false]),
            (&["self", "care:you"], [true, true, false]),
            (&["care:you", "care:they"], [false, true, true]),
            (&["operator"], [true, true, true]),
            (&["auditor"], [false, false, false]),
            (&["auditor", "self"], [true, false, false]),
            (&["Operator", "SELF", "care", "care:", "care:*", "openid"], [false, false, false]),
        ] {
            assert_eq!(may_see(scopes, Some("me")), sees, "{scopes:?}");
        }
        assert_eq!(
            may_see(&["self"], None),
            [false, false, false],
            "whoever is no user has no self"
        );
    }

    #[test]
    fn the_rest_of_an_id_with_spaces_is_no_scope_in_a_text() {
        for (text, own, cares, operator) in [
            ("self care:you", true, &["you"][..], false),
            ("operator", false, &[], true),
            ("openid operator care:you care:they", false, &["they", "you"], true),
            ("care:you operator", false, &["you"], false),
            ("care:you  self operator auditor", false, &["you"], false),
            ("care: operator self", false, &[""], false),
            ("care:you\toperator", false, &["you\toperator"], false),
        ] {
            let cares = cares.iter().map(|&user_id| user_id.to_owned()).collect();
            let wanted = Scopes { own, cares, operator };
            assert_eq!(Scopes::of_text(text), wanted, "{text}");
        }
        let list = Scopes::of(["care:you operator", "operator"].into_iter());
        assert!(
            list.operator && list.cares.contains("you operator"),
            "a list says where each ends"
        );
    }

    #[test]
    fn there_is_one_token_or_none() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a value"));
            }
            headers
        };
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(bearer(&headers(&[value])), Ok("abc"));
        }
        for values in [&[][..], &["Bearer"], &["abc"], &["Basic abc"], &["Bearer a", "Bearer b"]] {
            assert_eq!(bearer(&headers(values)), Err(Refused::Missing), "{values:?}");
        }
    }

    #[test]
    fn this_machine_is_asked_for_by_its_own_names() {
        for (host, is_own) in [
            ("localhost", true),
            ("LOCALHOST:8002", true),
            ("127.0.0.1:8002", true),
            ("[::1]:8002", true),
            ("evil.example:8002", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.7", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().expect("a value"));
            assert_eq!(is_near(&headers), is_own, "{host}");
        }
        assert!(!is_near(&HeaderMap::new()));
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = Refused::ALL.map(Refused::as_str).into();
        assert_eq!(words.len(), Refused::ALL.len());
    }
}
