//! What can be asked, as a document for people and programs (OpenAPI 3.1), and pages that show it. Says nothing of
//! anybody, and loads nothing from elsewhere.

pub(super) mod schemas;

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{CONTENT_SECURITY_POLICY, LOCATION};
use actix_web::web::{Bytes, Path};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::Config;

use super::about::tagged;
use super::problem::Problem;
use super::query::fields;
use super::{about, alerts, debug, people, probes, socket};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Biometric Bridge",
        description = "People's NEUROS modes, how they came to be, and their alerts. What is refused is said by a \
            problem document (RFC 9457). Whoever may not see a user is told the same as if there were none.",
    ),
    paths(
        probes::index,
        probes::health,
        probes::ready,
        probes::metrics,
        about::health,
        about::policy,
        people::state,
        people::transitions,
        people::timeline,
        people::coach_messages,
        people::alerts,
        alerts::acknowledge,
        alerts::snooze,
        alerts::resolve,
        debug::why,
        debug::events,
        debug::live,
        socket::open,
        socket::ticket,
        document,
        pages,
        page,
    ),
    modifiers(&Bearer)
)]
struct Document;

/// How whoever asks says who they are.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "A token of the issuer that `auth.issuer` names (JWT), or one that `biometric-bridge tokens new` made. Its \
             scopes say whom it may see: `self`, `care:USER`, `operator`.",
        ));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme.build()));
    }
}

/// What can be asked, as JSON, and its tag.
static DOCUMENT: LazyLock<Option<(Bytes, String)>> = LazyLock::new(|| {
    let json = serde_json::to_value(Document::openapi()).ok()?.to_string();
    let tag = about::digest(&json);
    Some((json.into(), tag))
});

/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "about",
    params(schemas::IfNoneMatch),
    responses(
        (status = 200, description = "This document.", body = serde_json::Value, headers(("ETag" = String))),
        (status = 304, description = "It is as you have it."),
        schemas::Refusals
    )
)]
pub(super) async fn document(request: HttpRequest) -> Result<HttpResponse, Problem> {
    fields(request.query_string(), [])?;
    let (json, tag) = DOCUMENT.as_ref().ok_or_else(Problem::broken)?;
    Ok(tagged(&request, tag, json.clone()))
}

/// Leads to the pages that show this document.
#[utoipa::path(
    get, path = "/api/docs", tag = "about",
    responses((status = 302, description = "They are there.", headers(("Location" = String))))
)]
pub(super) async fn pages() -> HttpResponse {
    // Relative: a proxy may mount all of this below a path of its own.
    HttpResponse::Found().insert_header((LOCATION, "docs/index.html")).finish()
}

/// Nothing on these pages comes from elsewhere, or goes there.
const OWN: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                   frame-ancestors 'none'";

/// A part of the pages that show this document.
#[utoipa::path(
    get, path = "/api/docs/{file}", tag = "about",
    params(("file" = String, Path, description = "`index.html`, and what that loads.")),
    responses(
        (status = 200, description = "The part.", content(
            (String = "text/html"), (String = "text/css"), (String = "text/javascript"), (Vec<u8> = "image/png"),
        )),
        (status = 404, description = "There is no such part.", body = schemas::ProblemDocument,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn page(file: Path<String>) -> Result<HttpResponse, Problem> {
    let config = Arc::new(Config::from("../openapi.json"));
    let found = utoipa_swagger_ui::serve(&file, config).map_err(|_| Problem::broken())?;
    let found = found.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok()
        .content_type(found.content_type)
        .insert_header((CONTENT_SECURITY_POLICY, OWN))
        .body(found.bytes.into_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::{Audience, ROUTES};

    #[test]
    fn every_route_is_in_the_document_and_nothing_else_is() {
        let (json, _) = DOCUMENT.as_ref().expect("a document");
        let json: serde_json::Value = serde_json::from_slice(json).expect("JSON");
        let mut described = BTreeSet::new();
        for (path, item) in json["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods") {
                described.insert((path.clone(), method.to_uppercase()));
                let asks = operation.get("security").is_some();
                let route = ROUTES.iter().find(|route| route.pattern == path).expect("served");
                let must = route.audience != Audience::Everybody;
                assert_eq!(asks, must, "{method} {path} says who may ask");
                assert!(operation["summary"].is_string(), "{method} {path} says what it is");
            }
        }
        let served: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.pattern.to_owned(), route.method.to_owned()))
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn the_pages_are_all_here_and_name_nothing_elsewhere() {
        let config = Arc::new(Config::from("../openapi.json"));
        let part = |name: &str| {
            let found = utoipa_swagger_ui::serve(name, Arc::clone(&config)).expect("served");
            String::from_utf8_lossy(&found.expect(name).bytes).into_owned()
        };
        let index = part("index.html");
        assert!(!index.contains("//"), "{index}");
        for piece in index.split(['"', '\'']).filter(|piece| piece.starts_with("./")) {
            part(piece.trim_start_matches("./"));
        }
        assert!(part("swagger-initializer.js").contains("../openapi.json"));
    }
}
