//! The HTTP server: `/health`, `/ready` and `/metrics`. It serves no health data.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::middleware::DefaultHeaders;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;

use crate::kafka::TopicNames;
use crate::watch::Watch;

/// What the handlers look at.
struct Shown {
    watch: Arc<Watch>,
    topics: TopicNames,
}

/// Binds the server's socket.
///
/// # Errors
///
/// One sentence that names the address and the cure.
pub fn bind(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| {
        let cure = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; end it, or choose another address with HTTP_BIND"
            }
            std::io::ErrorKind::PermissionDenied => "choose a port above 1023 with HTTP_BIND",
            _ => "choose an address of this machine with HTTP_BIND, such as 0.0.0.0:8002",
        };
        format!("cannot listen on {address}: {error}; {cure}")
    })
}

/// The server on a bound socket; it runs when it is awaited or spawned.
///
/// # Errors
///
/// When the socket cannot be listened on.
pub fn server(
    listener: TcpListener,
    watch: Arc<Watch>,
    topics: TopicNames,
) -> std::io::Result<Server> {
    let shown = web::Data::new(Shown { watch, topics });
    let server = HttpServer::new(move || {
        let no_store = DefaultHeaders::new()
            .add((CACHE_CONTROL, HeaderValue::from_static("no-store")))
            .add(("X-Content-Type-Options", "nosniff"));
        App::new()
            .app_data(shown.clone())
            .wrap(no_store)
            .route("/", web::get().to(index))
            .route("/health", web::get().to(health))
            .route("/ready", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
            .default_service(web::to(nothing))
    });
    // What is served is small and quickly made.
    let server = server.workers(1).max_connections(1_024).shutdown_timeout(2).disable_signals();
    Ok(server.listen(listener)?.run())
}

/// The process is alive.
async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// The process does its work.
async fn ready(shown: web::Data<Shown>) -> HttpResponse {
    let readiness = shown.watch.readiness();
    if readiness.is_ready() {
        HttpResponse::Ok().json(readiness)
    } else {
        HttpResponse::ServiceUnavailable().json(readiness)
    }
}

async fn metrics(shown: web::Data<Shown>) -> HttpResponse {
    match shown.watch.exposition(&shown.topics) {
        Ok(text) => {
            HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
        }
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// Links are relative: a proxy may mount all of this below a path of its own.
async fn index() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(
        "<!doctype html><meta charset=\"utf-8\"><title>Biometric Bridge</title>\
         <h1>Biometric Bridge</h1><ul><li><a href=\"health\">health</a></li>\
         <li><a href=\"ready\">ready</a></li><li><a href=\"metrics\">metrics</a></li></ul>",
    )
}

async fn nothing() -> HttpResponse {
    HttpResponse::NotFound()
        .json(json!({ "title": "Not found", "status": 404, "detail": "see / for what is here" }))
}
