//! Signed tokens: what RFC 8725 warns of is refused, and what is good is not.

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, ISSUER, SigningKey, claims, encode, now, set_of, trust, trust_set};
use super::office::{Office, ask, ask_with, state_of};
use crate::servers::Bridge;

/// Whether somebody is known by a token: then they are told that there is nobody of that name, for the store
/// is empty; else why they are not.
fn refusal(bridge: &Bridge, token: &str) -> Option<String> {
    let answer = ask(bridge, &state_of("ada"), token);
    let detail = answer.detail();
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.status, 401, "{detail}");
    let challenge = &answer.headers["www-authenticate"];
    assert!(challenge.starts_with("Bearer realm=\"biometric-bridge\""), "{challenge}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    // Neither who was asked for nor what was sent is said again.
    let parts = token.split('.').filter(|part| part.len() > 8);
    assert!(
        !answer.body.contains("ada") && !parts.into_iter().any(|part| answer.body.contains(part))
    );
    Some(detail.rsplit(": ").next().expect("a reason").to_owned())
}

/// A claim that is set to something else, or taken away.
fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims("ada", "self");
    let members = claims.as_object_mut().expect("an object");
    match value {
        Value::Null => members.remove(name),
        value => members.insert(name.to_owned(), value),
    };
    claims
}

#[test]
fn tokens_of_every_allowed_kind_are_accepted() {
    let mut office = Office::new();
    let keys = [SigningKey::rsa("r"), SigningKey::elliptic("e"), SigningKey::edwards("o")];
    trust(&mut office, &[&keys[0], &keys[1], &keys[2]]);
    let bridge = office.open();
    for key in &keys {
        assert_eq!(refusal(&bridge, &key.token("ada", "self")), None, "{}", key.id);
        for typ in [Value::Null, json!("jwt"), json!("at+jwt"), json!("application/at+JWT")] {
            let mut header = key.header();
            header["typ"] = typ;
            let header =
                header.to_string().replace("\"typ\":null,", "").replace(",\"typ\":null", "");
            let token = key.sign_with(&header, &claims("ada", "self").to_string());
            assert_eq!(refusal(&bridge, &token), None, "{header}");
        }
        for good in [
            changed("aud", json!(["somebody", AUDIENCE])),
            changed("nbf", Value::Null),
            // Clocks differ; so much is forgiven.
            changed("exp", json!(now() - 5)),
            changed("nbf", json!(now() + 5)),
            changed("scope", json!(["openid", "self"])),
        ] {
            assert_eq!(refusal(&bridge, &key.sign(&good)), None, "{good}");
        }
    }
    bridge.end();
}

#[test]
fn a_token_whose_claims_are_not_for_us_or_not_for_now_is_refused() {
    let mut office = Office::new();
    let key = SigningKey::elliptic("e");
    trust(&mut office, &[&key]);
    let bridge = office.open();
    for (name, value, reason) in [
        ("iss", json!("https://other.example/"), "issuer"),
        ("iss", json!(format!("{ISSUER}x")), "issuer"),
        ("iss", json!([ISSUER]), "claims"),
        ("iss", Value::Null, "claims"),
        ("aud", json!("somebody"), "audience"),
        ("aud", json!(["somebody"]), "audience"),
        ("aud", json!([]), "audience"),
        ("aud", Value::Null, "claims"),
        ("aud", json!(7), "claims"),
        ("exp", Value::Null, "claims"),
        ("exp", json!("tomorrow"), "claims"),
        ("exp", json!(now() - 600), "expired"),
        ("exp", json!(-1), "claims"),
        ("nbf", json!(now() + 600), "not_yet_valid"),
        ("nbf", json!("yesterday"), "claims"),
        ("sub", Value::Null, "claims"),
        ("sub", json!(""), "claims"),
        ("sub", json!(["ada"]), "claims"),
        ("sub", json!("ada\u{0}"), "claims"),
        ("sub", json!("a".repeat(256)), "claims"),
        ("scope", json!({"self": true}), "claims"),
    ] {
        let refused = refusal(&bridge, &key.sign(&changed(name, value.clone())));
        assert_eq!(refused.as_deref(), Some(reason), "{name}: {value}");
    }
    // Of two claims of one name nobody could say which holds.
    let text = claims("ada", "self").to_string();
    for twice in
        ["\"sub\":\"ada\"", "\"scope\":\"operator\"", "\"exp\":99999999999", "\"x\":1,\"x\":2"]
    {
        let token = key
            .sign_with(&key.header().to_string(), &text.replacen('{', &format!("{{{twice},"), 1));
        assert_eq!(refusal(&bridge, &token).as_deref(), Some("claims"), "{twice}");
    }
    let token = key.sign_with(&key.header().to_string(), "[]");
    assert!(refusal(&bridge, &token).is_some());
    bridge.wait_metric("biometric_authentication_failures_total{reason=\"expired\"}", |n| n == 1.0);
    bridge.end();
}

/// A service that trusts three keys, and somebody who attacks it.
struct Attacked {
    keys: [SigningKey; 3],
    bridge: Bridge,
    claims: String,
}

/// A secret that everybody can read: the issuer gives it with its keys.
const SHARED: &[u8] = b"a secret of 32 bytes, or nearly!";

impl Attacked {
    fn new() -> Self {
        let mut office = Office::new();
        let keys = [SigningKey::rsa("r"), SigningKey::elliptic("e"), SigningKey::edwards("o")];
        let set = set_of(&[&keys[0], &keys[1], &keys[2]]);
        let mut set: Value = serde_json::from_str(&set).expect("JSON");
        let secret = json!({"kty": "oct", "alg": "HS256", "kid": "s", "k": encode(SHARED)});
        set["keys"].as_array_mut().expect("a list").push(secret);
        trust_set(&mut office, &set.to_string());
        let claims = claims("ada", "operator").to_string();
        Self { keys, bridge: office.open(), claims }
    }

    /// A token of this key with something else in its head.
    fn with(&self, key: &SigningKey, name: &str, value: Value) -> String {
        let mut header = key.header();
        header[name] = value;
        key.sign_with(&header.to_string(), &self.claims)
    }

    /// A token that is not signed.
    fn unsigned(&self, alg: &str) -> String {
        let header = json!({"alg": alg, "typ": "JWT", "kid": "r"}).to_string();
        format!("{}.{}.", encode(header), encode(&self.claims))
    }

    /// A token that is signed with something that everybody knows.
    fn hashed(&self, id: &str, secret: &[u8]) -> String {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": id}).to_string();
        let message = format!("{}.{}", encode(header), encode(&self.claims));
        let secret = EncodingKey::from_secret(secret);
        let mac = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).expect("hashed");
        format!("{message}.{mac}")
    }

    /// All of these are refused for one of their reasons, and after all of that a good one is not.
    fn refuses(self, attacks: &[(&str, String, &str)]) {
        for (what, token, reasons) in attacks {
            let refused = refusal(&self.bridge, token);
            let reason = refused.as_deref().unwrap_or("accepted");
            assert!(reasons.split(' ').any(|its| its == reason), "{what}: {reason}");
        }
        assert_eq!(refusal(&self.bridge, &self.keys[0].token("ada", "operator")), None);
        self.bridge.end();
    }
}

#[test]
fn an_algorithm_that_the_key_is_not_for_is_refused() {
    let attacked = Attacked::new();
    let [rsa, elliptic, _] = &attacked.keys;
    let public = rsa.public();
    let modulus = public["n"].as_str().expect("a modulus");
    let attacks = [
        ("alg none", attacked.unsigned("none"), "unknown"),
        ("alg None", attacked.unsigned("None"), "unknown"),
        ("alg empty", attacked.unsigned(""), "unknown"),
        ("no signature", attacked.unsigned("RS256"), "signature"),
        ("HS256 with the modulus", attacked.hashed("r", modulus.as_bytes()), "algorithm"),
        (
            "HS256 with the key's text",
            attacked.hashed("r", public.to_string().as_bytes()),
            "algorithm",
        ),
        ("HS256 with the set's secret", attacked.hashed("s", SHARED), "algorithm"),
        ("ES256 said of RSA", attacked.with(rsa, "alg", json!("ES256")), "key"),
        ("RS256 said of a curve", attacked.with(elliptic, "alg", json!("RS256")), "key"),
        ("EdDSA said of a curve", attacked.with(elliptic, "alg", json!("EdDSA")), "key"),
        ("an algorithm not allowed", attacked.with(rsa, "alg", json!("RS512")), "algorithm"),
        ("another kind of padding", attacked.with(rsa, "alg", json!("PS256")), "algorithm"),
    ];
    attacked.refuses(&attacks);
}

#[test]
fn a_key_that_the_token_brings_itself_is_refused() {
    let attacked = Attacked::new();
    let [rsa, ..] = &attacked.keys;
    let stranger = SigningKey::rsa("r");
    let nowhere = || json!("http://127.0.0.1:1/");
    let secret = json!({"kty": "oct", "k": "AAAA"});
    let attacks = [
        ("a key of its own", attacked.with(&stranger, "jwk", stranger.public()), "signature"),
        ("a secret of its own", attacked.with(&stranger, "jwk", secret), "signature"),
        ("a place of its own", attacked.with(&stranger, "jku", nowhere()), "signature"),
        ("a certificate elsewhere", attacked.with(&stranger, "x5u", nowhere()), "signature"),
        ("a certificate of its own", attacked.with(&stranger, "x5c", json!(["AAAA"])), "signature"),
        ("no such kid", attacked.with(rsa, "kid", json!("nobody")), "key"),
        ("another's kid", attacked.with(rsa, "kid", json!("e")), "key"),
        ("no kid", attacked.with(rsa, "kid", Value::Null), "key"),
        ("kid with a path", attacked.with(rsa, "kid", json!("../../../dev/null")), "key"),
        ("kid with SQL", attacked.with(rsa, "kid", json!("r' UNION SELECT 'r")), "key"),
        ("kid with a zero", attacked.with(rsa, "kid", json!("r\u{0}")), "key"),
        ("kid that is a number", attacked.with(rsa, "kid", json!(7)), "unknown"),
    ];
    attacked.refuses(&attacks);
}

#[test]
fn a_token_of_another_shape_or_kind_is_refused() {
    let attacked = Attacked::new();
    let [rsa, ..] = &attacked.keys;
    let good = rsa.token("ada", "operator");
    let (message, signature) = good.rsplit_once('.').expect("a signature");
    let other = encode(claims("eve", "operator").to_string());
    let header = encode(rsa.header().to_string());
    let twice = |header: &str| rsa.sign_with(header, &attacked.claims);
    let attacks = [
        ("crit of what we know", attacked.with(rsa, "crit", json!(["exp"])), "critical"),
        ("crit of what we know not", attacked.with(rsa, "crit", json!(["b64"])), "critical"),
        ("crit of nothing", attacked.with(rsa, "crit", json!([])), "critical"),
        ("typ of an event", attacked.with(rsa, "typ", json!("secevent+jwt")), "type"),
        ("typ of a proof", attacked.with(rsa, "typ", json!("dpop+jwt")), "type"),
        ("somebody's signature", format!("{message}.{}", encode([7; 256])), "signature"),
        ("half a signature", format!("{message}.{}", &signature[..40]), "signature"),
        ("another's text", format!("{header}.{other}.{signature}"), "signature"),
        ("four parts", format!("{good}.{signature}"), "unknown"),
        ("two parts", message.to_owned(), "unknown"),
        ("padding", format!("{good}="), "unknown signature"),
        ("five parts, as encrypted", "a.b.c.d.e".to_owned(), "unknown"),
        ("alg twice", twice(r#"{"alg":"RS256","alg":"RS256","kid":"r"}"#), "unknown"),
        ("kid twice", twice(r#"{"alg":"RS256","kid":"r","kid":"r"}"#), "unknown"),
        ("no header", twice(""), "unknown"),
        ("nothing", ".".to_owned(), "unknown"),
        ("too long", rsa.sign(&changed("x", json!("x".repeat(8_000)))), "unknown"),
    ];
    attacked.refuses(&attacks);
}

#[test]
fn without_a_token_it_is_said_how_to_send_one() {
    let mut office = Office::new();
    let key = SigningKey::edwards("o");
    trust(&mut office, &[&key]);
    let bridge = office.open();
    let token = key.token("ada", "self");
    let line = |value: &str| format!("Authorization: {value}");
    for lines in [
        vec![],
        vec![line("")],
        vec![line("Bearer")],
        vec![line("Basic YWRhOmFkYQ==")],
        vec![line(&token)],
        vec![line(&format!("Bearer {token}")), line(&format!("Bearer {token}"))],
        vec![format!("Cookie: token={token}")],
    ] {
        let answer = ask_with(&bridge, &state_of("ada"), &lines);
        assert_eq!(answer.status, 401, "{lines:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"biometric-bridge\"");
        assert!(answer.detail().contains("`Authorization: Bearer TOKEN`"), "{answer:?}");
    }
    // Not in the path either: it would be in everybody's logs.
    let answer = ask_with(&bridge, &format!("{}?access_token={token}", state_of("ada")), &[]);
    assert_eq!(answer.status, 401);
    bridge.end();
}

#[test]
fn where_nothing_says_who_may_nobody_may_and_it_is_said_what_to_set() {
    let office = Office::new();
    let bridge = office.open();
    let answer = ask(&bridge, &state_of("ada"), "anything");
    assert_eq!(answer.status, 401);
    let detail = answer.detail();
    assert!(
        detail.contains("`auth.jwks_url`") && detail.contains("`auth.tokens_file`"),
        "{detail}"
    );
    assert_eq!(bridge.http("/health").expect("an answer").0, 200, "all else is as it was");
    bridge.end();
}
