//! `GET /ws`: who may open a socket, and from where. What is sent there comes from a subscription alone, which
//! writes down who follows whom before anything is sent.

mod allowance;
mod conversation;
mod request;

use actix_web::http::header::{CONNECTION, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use self::conversation::{Conversation, Ended};
use super::Desk;
use super::authentication::{Identity, Refused};
use super::document::schemas;
use super::problem::Problem;
use super::reader::{self, Subscription, TICKET_SECONDS};

/// What is spoken.
const PROTOCOL: &str = "neuros.v1";

/// A ticket for a socket.
#[derive(Serialize, ToSchema)]
struct Ticket {
    /// For the query of `/ws`; good once.
    ticket: String,
    /// For so many seconds.
    expires_in: i64,
}

/// A ticket for a socket, for whoever cannot send a token when they open it.
#[utoipa::path(
    post, path = "/api/v1/tickets", tag = "sockets",
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The ticket.", body = Ticket),
        (status = 401, description = "Nobody knows who asks.", body = schemas::ProblemDocument,
            content_type = "application/problem+json", headers(("WWW-Authenticate" = String))),
        schemas::Refusals,
    )
)]
pub(super) async fn ticket(
    desk: Data<Desk>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let identity = reader::identify(&desk, &request).await?;
    let ticket = desk.archive.keep_ticket(&identity).await?;
    Ok(HttpResponse::Created().json(Ticket { ticket, expires_in: TICKET_SECONDS }))
}

/// A socket (RFC 6455), subprotocol `neuros.v1`: `docs/asyncapi.yaml` says what is said on it.
#[utoipa::path(
    get, path = "/ws", tag = "sockets",
    params(("ticket" = Option<String>, Query, description = "A ticket, where no token can be sent.")),
    security(("bearer" = []), ()),
    responses(
        (status = 101, description = "The socket is open. Who is not known is told so by its close code, 4001."),
        (status = 403, description = "Pages of this origin are not in `http.origins`.",
            body = schemas::ProblemDocument, content_type = "application/problem+json"),
        (status = 426, description = "It is no handshake of a WebSocket.", body = schemas::ProblemDocument,
            content_type = "application/problem+json", headers(("Upgrade" = String))),
        schemas::Refusals,
    )
)]
pub(super) async fn open(
    desk: Data<Desk>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse, Problem> {
    check(&desk, &request)?;
    let begin = |request: &HttpRequest| {
        actix_ws::handle_with_protocols(request, body, &[PROTOCOL])
            .map_err(|_| Problem::no_upgrade())
    };
    let identity = match identify(&desk, &request).await {
        Ok(identity) => identity,
        // A browser is told by a close code alone: it shows no page the status of an answer.
        Err(problem) if problem.is_unauthorized() => {
            let (response, session, stream) = begin(&request)?;
            let said = problem.to_string();
            actix_web::rt::spawn(conversation::refuse(desk, session, stream, Ended::Unknown(said)));
            return Ok(response);
        }
        Err(problem) => return Err(problem),
    };
    let seat = desk.limits.socket(identity.name()).ok_or_else(Problem::too_many_sockets)?;
    let subscription = Subscription::new(
        &desk.archive,
        &desk.refusals,
        identity.clone(),
        desk.sockets.queue_bytes,
        desk.sockets.users,
    )?;
    let (response, session, stream) = begin(&request)?;
    let conversation = Conversation::new(desk, session, subscription, identity);
    actix_web::rt::spawn(async move {
        conversation.run(stream).await;
        drop(seat);
    });
    Ok(response)
}

/// What has to hold before anybody is asked who they are.
fn check(desk: &Desk, request: &HttpRequest) -> Result<(), Problem> {
    let has = |name: HeaderName, word: &str| {
        let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
        let mut words = values.flat_map(|value| value.split(',')).map(str::trim);
        words.any(|its| its.eq_ignore_ascii_case(word))
    };
    if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
        return Err(Problem::no_upgrade());
    }
    // A page sends where it is from, and whoever is no page sends nothing.
    for origin in request.headers().get_all(ORIGIN) {
        let is_known = origin.to_str().is_ok_and(|origin| desk.sockets.origins.contains(origin));
        if !is_known {
            return Err(Problem::origin());
        }
    }
    if !has(SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err(Problem::subprotocol(PROTOCOL));
    }
    if desk.archive.ending().is_cancelled() {
        return Err(Problem::unavailable("the service is ending"));
    }
    Ok(())
}

/// Who opens the socket: by a ticket in the query, else by their token.
async fn identify(desk: &Desk, request: &HttpRequest) -> Result<Identity, Problem> {
    let query = request.query_string();
    if query.is_empty() {
        return reader::identify(desk, request).await;
    }
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let (Some((name, ticket)), None) = (fields.next(), fields.next()) else {
        return Err(Problem::unknown_field("ticket"));
    };
    if name != "ticket" {
        return Err(Problem::unknown_field("ticket"));
    }
    let taken = desk.archive.take_ticket(&ticket).await?;
    // What it was given for may have ended since.
    let known = taken.filter(|identity| desk.authentication.still_knows(identity));
    reader::admit(desk, request, known.ok_or(Refused::Unknown)).await
}
