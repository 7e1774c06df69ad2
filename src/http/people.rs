//! What the API says of a person: their state, how it came to be, and their alerts. Whoever asks is a
//! [`Reader`], and only that knows what is stored.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse};
use actors::phi::Phi;

use super::about::tagged;
use super::document::schemas;
use super::problem::Problem;
use super::query::{Page, fields, flag, time, whole};
use super::reader::{Reader, Stretch, Timeline};

/// Points of a line in a timeline, when nobody says how many, and at most.
const POINTS: u32 = 400;
const POINTS_MAX: u32 = 4_000;

/// A user's state with all records that are stored by now.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/state", tag = "users",
    params(schemas::User, schemas::IfNoneMatch),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The state; its tag is another when anything in it is.", body = schemas::State, headers(("ETag" = String))),
        (status = 304, description = "It is as you have it."),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn state(reader: Reader, request: HttpRequest) -> Result<HttpResponse, Problem> {
    fields(request.query_string(), [])?;
    let state = reader.state().await?;
    Ok(tagged(&request, &state.tag, state.body.into_inner().into()))
}

/// A page of a user's mode changes, each with its explanation, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/transitions", tag = "users",
    params(schemas::User, schemas::PageOfChanges),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The mode changes.", body = schemas::Transitions),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn transitions(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let [after, limit] = fields(request.query_string(), ["after", "limit"])?;
    Ok(json(reader.transitions(Page::of(after, limit)?).await?))
}

/// A page of what the coach says of a user's mode changes, the oldest first.
///
/// One for each mode change, a little after it; none of those that came before `coach.enabled`.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/coach-messages", tag = "users",
    params(schemas::User, schemas::PageOf, schemas::IfNoneMatch),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The messages; their tag is another when there are others.", body = schemas::CoachMessages, headers(("ETag" = String))),
        (status = 304, description = "They are as you have them."),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn coach_messages(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let [after, limit] = fields(request.query_string(), ["after", "limit"])?;
    let messages = reader.coach_messages(Page::of(after, limit)?).await?;
    Ok(tagged(&request, &messages.tag, messages.body.into_inner().into()))
}

/// Where health data leaves by this port.
pub(super) fn json(body: Phi<Vec<u8>>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body.into_inner())
}

/// A page of what was said of a user's alerts, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/alerts", tag = "users",
    params(schemas::User, schemas::PageOf,
        ("open" = Option<bool>, Query, description = "Only the newest of each alert that is not over.")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The changes of alerts.", body = schemas::Alerts),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn alerts(reader: Reader, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let [open, after, limit] = fields(request.query_string(), ["open", "after", "limit"])?;
    let open = flag("open", open.as_deref())?;
    Ok(json(reader.alerts(open, Page::of(after, limit)?).await?))
}

/// What was measured of a user over a time, what was usual, and their modes.
///
/// Made of the records that were stored from `from` on, at most 50,000, which are applied again.
#[utoipa::path(
    get, path = "/api/v1/users/{user_id}/timeline", tag = "users",
    params(schemas::User, schemas::StretchOf),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The timeline.", body = Timeline),
        (status = 422, description = "It ends before it begins, or takes more records than are applied again for one answer.",
            body = schemas::ProblemDocument, content_type = "application/problem+json"),
        schemas::Refusals,
        schemas::ReaderRefusals,
    )
)]
pub(super) async fn timeline(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let [from, to, points] = fields(request.query_string(), ["from", "to", "points"])?;
    let needed = |name, text: Option<String>| time(name, text.as_deref().unwrap_or_default());
    let (from, to) = (needed("from", from)?, needed("to", to)?);
    if from >= to {
        return Err(Problem::unprocessable("to", "it must be later than `from`"));
    }
    let points = match points {
        None => POINTS,
        Some(points) => whole("points", &points, 4..=POINTS_MAX)?,
    };
    let points = usize::try_from(points).unwrap_or(usize::MAX);
    Ok(json(reader.timeline(Stretch { from, to, points }).await?))
}
