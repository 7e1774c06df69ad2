//! What everybody may ask: whether the process lives, whether it does its work, and its metrics. Says nothing
//! of anybody.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Desk;
use super::document::schemas;
use super::problem::Problem;
use super::routes::ROUTES;

/// The process is alive.
#[utoipa::path(
    get, path = "/health", tag = "probes",
    responses(
        (status = 200, description = "It is.", body = schemas::Alive),
        schemas::Refusals,
    )
)]
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// The process does its work.
#[utoipa::path(
    get, path = "/ready", tag = "probes",
    responses(
        (status = 200, description = "It does.", body = schemas::Health),
        (status = 503, description = "It does not; `failing` says which part.", body = schemas::Health),
    )
)]
pub(super) async fn ready(desk: web::Data<Desk>) -> HttpResponse {
    let readiness = desk.watch.readiness();
    if readiness.is_ready() {
        HttpResponse::Ok().json(readiness)
    } else {
        HttpResponse::ServiceUnavailable().json(readiness)
    }
}

/// Metrics, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "probes",
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
        schemas::Refusals,
    )
)]
pub(super) async fn metrics(desk: web::Data<Desk>) -> Result<HttpResponse, Problem> {
    match desk.watch.exposition(&desk.topics) {
        Ok(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Ok(HttpResponse::Ok().content_type(kind).body(text))
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            Err(Problem::broken())
        }
    }
}

/// A page that names what can be asked.
#[utoipa::path(
    get, path = "/", tag = "probes",
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        schemas::Refusals,
    )
)]
pub(super) async fn index() -> HttpResponse {
    // Links are relative: a proxy may mount all of this below a path of its own.
    let mut page = "<!doctype html><meta charset=\"utf-8\"><title>Biometric Bridge</title>\
                    <h1>Biometric Bridge</h1><ul>"
        .to_owned();
    for route in ROUTES {
        let path = route.pattern.trim_start_matches('/');
        if path.contains('{') {
            page.push_str(&format!("<li><code>{path}</code></li>"));
        } else if !path.is_empty() {
            page.push_str(&format!("<li><a href=\"{path}\">{path}</a></li>"));
        }
    }
    page.push_str("</ul>");
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}
