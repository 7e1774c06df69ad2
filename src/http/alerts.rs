//! What the API lets people do about alerts. The lane's owner carries that out; this only asks for it.

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use neuros::alert::Order;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::document::schemas;
use super::problem::Problem;
use super::query::{Nothing, body, fields, time};
use super::reader::{Answer, Reader};

/// What `…/ack` and `…/resolve` take.
const NOTHING: &str = "empty, or an empty JSON object";
/// What `…/snooze` takes.
const UNTIL: &str = "a JSON object with the field `until` and no other, such as \
                     {\"until\": \"2025-03-03T08:00:00Z\"}";

/// Until when nobody is to be told of an alert.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Snooze {
    #[schema(format = DateTime)]
    until: String,
}

/// Somebody has seen an alert: it is not notified again unless it becomes more serious.
#[utoipa::path(
    post, path = "/api/v1/users/{user_id}/alerts/{id}/ack", tag = "alerts",
    params(schemas::AlertOfUser),
    request_body = Option<Nothing>,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It is asked for, and what came of it by now.", body = Answer),
        schemas::Refusals,
        schemas::ReaderRefusals,
        schemas::OrderRefusals,
    )
)]
pub(super) async fn acknowledge(
    reader: Reader,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let id = named(&request)?;
    let Nothing {} = body(payload, NOTHING).await?;
    let answer =
        reader.ask_about(id, "ACKNOWLEDGE", |episode, by| Order::Acknowledge { episode, by });
    told(answer.await?)
}

/// Nothing is notified of an alert's rule until then, unless it becomes more serious.
#[utoipa::path(
    post, path = "/api/v1/users/{user_id}/alerts/{id}/snooze", tag = "alerts",
    params(schemas::AlertOfUser),
    request_body = Snooze,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It is asked for, and what came of it by now.", body = Answer),
        schemas::Refusals,
        schemas::ReaderRefusals,
        schemas::OrderRefusals,
    )
)]
pub(super) async fn snooze(
    reader: Reader,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let id = named(&request)?;
    let Snooze { until } = body(payload, UNTIL).await?;
    let until = time("until", &until)?.as_micros();
    let order = move |episode, by| Order::Snooze { episode, until, by };
    told(reader.ask_about(id, "SNOOZE", order).await?)
}

/// An alert is over, whatever the readings say; its rule fires anew only after they have been normal.
#[utoipa::path(
    post, path = "/api/v1/users/{user_id}/alerts/{id}/resolve", tag = "alerts",
    params(schemas::AlertOfUser),
    request_body = Option<Nothing>,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It is asked for, and what came of it by now.", body = Answer),
        schemas::Refusals,
        schemas::ReaderRefusals,
        schemas::OrderRefusals,
    )
)]
pub(super) async fn resolve(
    reader: Reader,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let id = named(&request)?;
    let Nothing {} = body(payload, NOTHING).await?;
    let answer = reader.ask_about(id, "RESOLVE", |episode, by| Order::Resolve { episode, by });
    told(answer.await?)
}

/// The alert in the path.
fn named(request: &HttpRequest) -> Result<Uuid, Problem> {
    fields(request.query_string(), [])?;
    let id = request.match_info().query("id").parse();
    id.map_err(|_| Problem::field("id", "the id of an alert, a UUID"))
}

fn told(answer: Answer) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Accepted().json(answer))
}
