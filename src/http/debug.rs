//! What operators are shown of a single user when they look for a reason, where `http.debug` lets them. Whoever asks
//! is an [`Inquirer`], and only that knows what is stored.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use actors::phi::Phi;
use futures_util::stream;
use tokio::time::Instant;

use super::Desk;
use super::authentication::Identity;
use super::document::schemas;
use super::people::json;
use super::problem::Problem;
use super::query::{Page, fields, time};
use super::reader::{Following, Inquirer};

/// Records of a page, at most: each comes with all of why.
const EVENTS_MAX: u32 = 100;
/// How often somebody who follows hears that there is nothing.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long somebody follows before they must say again who they are. They go on where they were.
const LENGTH: Duration = Duration::from_secs(300);

/// Why a user is in their mode, and why not in another.
///
/// Recomputed from stored records, of which at most 10,000 are applied again: the newest outcomes with every rule's
/// value, threshold and margin, the smallest single change that would have led to another mode, baselines, fresh and
/// stale readings, the user's lane, and open alerts. For operators, and only with `http.debug`.
#[utoipa::path(
    get, path = "/debug/users/{user_id}", tag = "debug",
    params(
        schemas::User,
        ("as_of" = Option<chrono::DateTime<chrono::Utc>>, Query, description = "As it was then, by what was stored.")
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Why.", body = schemas::Why),
        (status = 422, description = "It is too far from any state that is kept.",
            body = schemas::ProblemDocument, content_type = "application/problem+json"),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn why(
    inquirer: Inquirer,
    request: HttpRequest,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    let [as_of] = fields(request.query_string(), ["as_of"])?;
    let as_of = as_of.map(|text| time("as_of", &text)).transpose()?;
    let lanes = desk.watch.readiness().lanes;
    Ok(json(inquirer.why(as_of, lanes).await?))
}

/// A page of a user's records, each with where it lies and what came of it.
///
/// `after` is the number of a record here. For operators, and only with `http.debug`.
#[utoipa::path(
    get, path = "/debug/users/{user_id}/events", tag = "debug",
    params(
        schemas::User,
        ("after" = Option<i64>, Query, minimum = 0, description = "Records with a number above this one."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "So many at most.")
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The records.", body = schemas::Events),
        (status = 422, description = "They are too far from any state that is kept.",
            body = schemas::ProblemDocument, content_type = "application/problem+json"),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn events(
    inquirer: Inquirer,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let [after, limit] = fields(request.query_string(), ["after", "limit"])?;
    let page = Page::within(after, limit, EVENTS_MAX)?;
    Ok(json(inquirer.events(page).await?))
}

/// What is said of a user while it is, as server-sent events.
///
/// Each event is a mode change or a change of an alert; its id is its `n`, and `Last-Event-ID` goes on behind it.
/// Ends after five minutes, and with the token. For operators, and only with `http.debug`.
#[utoipa::path(
    get, path = "/debug/users/{user_id}/live", tag = "debug",
    params(
        schemas::User,
        ("Last-Event-ID" = Option<i64>, Header, minimum = 0, description = "The newest `n` that came.")
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream"),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn live(
    inquirer: Inquirer,
    request: HttpRequest,
    desk: Data<Desk>,
) -> Result<HttpResponse, Problem> {
    fields(request.query_string(), [])?;
    let after = match request.headers().get("last-event-id") {
        None => None,
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse().ok()).filter(|id: &i64| *id >= 0);
            Some(id.ok_or_else(|| Problem::field("Last-Event-ID", "a message number from 0 on"))?)
        }
    };
    let following = inquirer.follow(after).await?;
    let until = Instant::now() + LENGTH;
    let events = stream::unfold(Some(following), move |following| {
        next(Data::clone(&desk), following, until)
    });
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/event-stream")).streaming(events))
}

/// What goes out next, and who goes on following.
async fn next(
    desk: Data<Desk>,
    following: Option<Following>,
    until: Instant,
) -> Option<(Result<Bytes, Infallible>, Option<Following>)> {
    let mut following = following.filter(|_| Instant::now() < until)?;
    let is_known = |identity: &Identity| desk.authentication.still_knows(identity);
    match following.next(HEARTBEAT, is_known).await {
        Ok(Some(said)) => {
            let event = |(n, json): (i64, Phi<Vec<u8>>)| {
                [format!("id: {n}\ndata: ").as_bytes(), json.expose(), b"\n\n"].concat()
            };
            let text: Vec<u8> = said.into_iter().flat_map(event).collect();
            Some((Ok(text.into()), Some(following)))
        }
        Ok(None) => Some((Ok(Bytes::from_static(b":\n\n")), Some(following))),
        // They come back, and are told why if that lasts.
        Err(_) => None,
    }
}
