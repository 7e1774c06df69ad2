//! What everybody who asks the API may know: how each part of the service is, and by which numbers it decides. Says
//! nothing of anybody.

use actix_web::http::header::{ContentType, ETAG, IF_NONE_MATCH};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use neuros::Policy;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Desk;
use super::document::schemas;
use super::problem::Problem;
use super::query::fields;

/// The policy in force as it is shown.
pub(super) struct PolicyInForce {
    json: Bytes,
    tag: String,
}

impl PolicyInForce {
    /// How `policy` is shown.
    ///
    /// # Errors
    ///
    /// When it cannot be.
    pub(super) fn of(policy: &Policy) -> Result<Self, String> {
        let text = policy.to_yaml();
        let json = serde_saphyr::from_str::<Value>(&text);
        let json = json.map_err(|error| format!("the policy cannot be shown: {error}"))?;
        Ok(Self { json: json.to_string().into(), tag: digest(&text) })
    }
}

/// How each part is. `/ready` says by its status whether work may be sent here.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "about",
    responses(
        (status = 200, description = "How each part is.", body = schemas::Health),
        schemas::Refusals,
    )
)]
pub(super) async fn health(
    desk: web::Data<Desk>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    fields(request.query_string(), [])?;
    Ok(HttpResponse::Ok().json(desk.watch.readiness()))
}

/// The policy in force: every number by which is decided.
#[utoipa::path(
    get, path = "/api/v1/policy", tag = "about",
    params(schemas::IfNoneMatch),
    responses(
        (status = 200, description = "The policy.", body = schemas::Policy, headers(("ETag" = String))),
        (status = 304, description = "It is as you have it."),
        schemas::Refusals,
    )
)]
pub(super) async fn policy(
    desk: web::Data<Desk>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    fields(request.query_string(), [])?;
    Ok(tagged(&request, &desk.policy.tag, desk.policy.json.clone()))
}

/// A tag for a text.
pub(super) fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// An answer under a tag, or that whoever asks has it already (RFC 9110, section 13.1.2).
pub(super) fn tagged(request: &HttpRequest, tag: &str, json: Bytes) -> HttpResponse {
    let tag = format!("\"{tag}\"");
    if is_known(request, &tag) {
        return HttpResponse::NotModified().insert_header((ETAG, tag)).finish();
    }
    HttpResponse::Ok().insert_header((ETAG, tag)).content_type(ContentType::json()).body(json)
}

fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let given = request.headers().get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    // No tag of ours has a comma.
    let mut given = given.flat_map(|value| value.split(','));
    given.any(|its| {
        let its = its.trim();
        its == "*" || its.strip_prefix("W/").unwrap_or(its) == tag
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_tag_that_is_known_is_found_in_any_list_of_them() {
        for (given, knows) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("a", false),
            ("\"b\"", false),
            ("", false),
        ] {
            let request = TestRequest::default().insert_header((IF_NONE_MATCH, given));
            assert_eq!(is_known(&request.to_http_request(), "\"a\""), knows, "{given}");
        }
        assert!(!is_known(&TestRequest::default().to_http_request(), "\"a\""));
    }

    #[test]
    fn the_policy_is_shown_whole() {
        let shown = PolicyInForce::of(&Policy::default()).expect("shown").json;
        let shown: Value = serde_json::from_slice(&shown).expect("JSON");
        assert_eq!(shown["version"], Policy::default().version);
        for key in neuros::policy::KEYS {
            let value = key.path.split('.').fold(&shown, |value, name| &value[name]);
            assert!(!value.is_null(), "{} is missing", key.path);
        }
    }
}
