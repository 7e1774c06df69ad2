//! What everybody may ask: whether the process lives, whether it does its work, and its metrics. Says nothing
//! of anybody.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Desk;
use super::problem::Problem;
use super::routes::ROUTES;

/// `GET /health`: the process is alive.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /ready`: the process does its work.
pub(super) async fn ready(desk: web::Data<Desk>) -> HttpResponse {
    let readiness = desk.watch.readiness();
    if readiness.is_ready() {
        HttpResponse::Ok().json(readiness)
    } else {
        HttpResponse::ServiceUnavailable().json(readiness)
    }
}

/// `GET /metrics`, for Prometheus.
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

/// `GET /`. Links are relative: a proxy may mount all of this below a path of its own.
pub(super) async fn index() -> HttpResponse {
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
