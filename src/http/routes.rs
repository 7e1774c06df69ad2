//! Every route, once: the server is made from this list, and tests walk it. A route that shows health data is
//! [`Audience::Readers`], and its handler takes a [`Reader`](super::reader::Reader).

use actix_web::web::{self, ServiceConfig};
use actix_web::{ResponseError as _, Route as Served};

use super::problem::Problem;
use super::{people, probes, socket};

/// Something that can be asked.
pub struct Route {
    /// Its path; `{user_id}` stands for a user's id, percent-encoded.
    pub pattern: &'static str,
    /// Who may ask.
    pub audience: Audience,
    /// How.
    pub method: &'static str,
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
pub const ROUTES: [Route; 8] = [
    everybody("/", || web::get().to(probes::index)),
    everybody("/health", || web::get().to(probes::health)),
    everybody("/ready", || web::get().to(probes::ready)),
    everybody("/metrics", || web::get().to(probes::metrics)),
    readers("/api/v1/users/{user_id}/state", || web::get().to(people::state)),
    readers("/api/v1/users/{user_id}/transitions", || web::get().to(people::transitions)),
    known("/ws", "GET", || web::get().to(socket::open)),
    known("/api/v1/tickets", "POST", || web::post().to(socket::ticket)),
];

const fn everybody(pattern: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, audience: Audience::Everybody, method: "GET", serve }
}

const fn readers(pattern: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, audience: Audience::Readers, method: "GET", serve }
}

const fn known(pattern: &'static str, method: &'static str, serve: fn() -> Served) -> Route {
    Route { pattern, audience: Audience::Known, method, serve }
}

/// Adds all routes to an app.
pub(super) fn configure(config: &mut ServiceConfig) {
    for route in ROUTES {
        let resource = web::resource(route.pattern).route((route.serve)());
        let method = route.method;
        config.service(
            resource
                .default_service(web::to(async move || Problem::method(method).error_response())),
        );
    }
    config.default_service(web::to(async || Problem::not_found().error_response()));
}

/// Whether a path is a probe's, which is counted apart.
pub(super) fn is_probe(path: &str) -> bool {
    ROUTES.iter().any(|route| route.audience == Audience::Everybody && route.pattern == path)
}
