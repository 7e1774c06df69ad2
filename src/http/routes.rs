//! Every route, once: the server is made from this list, and tests walk it. A route that shows health data is
//! [`Audience::Readers`], and its handler takes a [`Reader`](super::reader::Reader).

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{ResponseError as _, Route as Served};

use super::problem::Problem;
use super::{about, alerts, cross_origin, debug, document, people, probes, socket};

/// Something that can be asked.
pub struct Route {
    /// Its path; `{user_id}` stands for a user's id, percent-encoded.
    pub pattern: &'static str,
    /// The one method that is answered there.
    pub method: &'static str,
    /// Who may ask.
    pub audience: Audience,
    serve: fn() -> Served,
}

/// Who may ask for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody: it says nothing of anybody.
    Everybody,
    /// Who may see the health data of the user in the path.
    Readers,
    /// Whoever is known.
    Known,
}

/// Every route.
pub const ROUTES: [Route; 22] = [
    everybody("/", || web::get().to(probes::index)),
    everybody("/health", || web::get().to(probes::health)),
    everybody("/ready", || web::get().to(probes::ready)),
    everybody("/metrics", || web::get().to(probes::metrics)),
    everybody("/api/openapi.json", || web::get().to(document::document)),
    everybody("/api/docs", || web::get().to(document::pages)),
    everybody("/api/docs/{file}", || web::get().to(document::page)),
    everybody("/api/v1/health", || web::get().to(about::health)),
    everybody("/api/v1/policy", || web::get().to(about::policy)),
    readers("/api/v1/users/{user_id}/state", || web::get().to(people::state)),
    readers("/api/v1/users/{user_id}/transitions", || web::get().to(people::transitions)),
    readers("/api/v1/users/{user_id}/timeline", || web::get().to(people::timeline)),
    readers("/api/v1/users/{user_id}/coach-messages", || web::get().to(people::coach_messages)),
    readers("/api/v1/users/{user_id}/alerts", || web::get().to(people::alerts)),
    orders("/api/v1/users/{user_id}/alerts/{id}/ack", || web::post().to(alerts::acknowledge)),
    orders("/api/v1/users/{user_id}/alerts/{id}/snooze", || web::post().to(alerts::snooze)),
    orders("/api/v1/users/{user_id}/alerts/{id}/resolve", || web::post().to(alerts::resolve)),
    readers("/debug/users/{user_id}", || web::get().to(debug::why)),
    readers("/debug/users/{user_id}/events", || web::get().to(debug::events)),
    readers("/debug/users/{user_id}/live", || web::get().to(debug::live)),
    known("/ws", "GET", || web::get().to(socket::open)),
    known(cross_origin::SHARED, "POST", || web::post().to(socket::ticket)),
];

const fn everybody(pattern: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, method: "GET", audience: Audience::Everybody, serve }
}

const fn readers(pattern: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, method: "GET", audience: Audience::Readers, serve }
}

/// Something that whoever may see a user may ask to be done about them.
const fn orders(pattern: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, method: "POST", audience: Audience::Readers, serve }
}

const fn known(pattern: &'static str, method: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, method, audience: Audience::Known, serve }
}

/// Adds all routes to an app.
pub(super) fn configure(config: &mut ServiceConfig) {
    for route in ROUTES {
        let mut resource = web::resource(route.pattern).route((route.serve)());
        if route.pattern == cross_origin::SHARED {
            resource = resource.route(web::method(Method::OPTIONS).to(cross_origin::preflight));
        }
        config.service(resource.default_service(web::to(move || async move {
            Problem::method(route.method).error_response()
        })));
    }
    config.default_service(web::to(async || Problem::not_found().error_response()));
}

/// Whether a path is a probe's, which is counted apart.
pub(super) fn is_probe(path: &str) -> bool {
    ROUTES.iter().any(|route| route.audience == Audience::Everybody && route.pattern == path)
}
