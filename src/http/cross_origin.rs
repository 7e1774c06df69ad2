//! Pages of other origins (CORS, Fetch Standard): those that `http.origins` names may ask for a ticket and read the
//! answer. Nothing else here is shared with any page, and no page's cookies count for anything.

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Desk;
use super::problem::Problem;
use crate::settings::Origins;

/// What is shared.
pub(super) const SHARED: &str = "/api/v1/tickets";
const METHOD: &str = "POST";
/// What a page sends beside what it always may.
const SENT: &str = "authorization, content-type";
/// What it may read beside what it always may.
const READ: &str = "retry-after";
/// For how long a browser need not ask again, in seconds: as long as a change of the setting may take to be noticed.
const REMEMBERED: &str = "600";

/// What a browser asks before a page asks: whether it may.
pub(super) async fn preflight(
    desk: Data<Desk>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let headers = request.headers();
    if !headers.contains_key(ORIGIN) || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return Err(Problem::method(METHOD));
    }
    known(headers, &desk.sockets.origins).ok_or_else(Problem::origin)?;
    Ok(HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, METHOD))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, SENT))
        .insert_header((ACCESS_CONTROL_MAX_AGE, REMEMBERED))
        .finish())
}

/// Adds to an answer to what is shared who may read it.
pub(super) fn share(origins: &Origins, asked: &HeaderMap, answer: &mut HeaderMap) {
    // Also where no origin is named: a cache must not give that answer to a page.
    answer.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = known(asked, origins) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
    }
}

/// The origin of the page that asks, if it is one that may.
fn known<'h>(asked: &'h HeaderMap, origins: &Origins) -> Option<&'h HeaderValue> {
    let mut named = asked.get_all(ORIGIN);
    let (Some(origin), None) = (named.next(), named.next()) else { return None };
    origin.to_str().is_ok_and(|origin| origins.contains(origin)).then_some(origin)
}
