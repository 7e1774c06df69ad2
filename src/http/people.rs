//! What the API says of a person: their state, and how it came to be. Whoever asks is a [`Reader`], and only
//! that knows what is stored.

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse};
use actors::phi::Phi;
use url::form_urlencoded;

use super::problem::Problem;
use super::reader::Reader;

/// Mode changes in an answer, when nobody says how many, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// `GET /api/v1/users/{user_id}/state`
pub(super) async fn state(reader: Reader, request: HttpRequest) -> Result<HttpResponse, Problem> {
    fields(request.query_string(), [])?;
    Ok(json(reader.state().await?))
}

/// `GET /api/v1/users/{user_id}/transitions`
pub(super) async fn transitions(
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let [after, limit] = fields(request.query_string(), ["after", "limit"])?;
    let after = match after {
        None => 0,
        Some(after) => after
            .parse()
            .ok()
            .filter(|after| *after >= 0)
            .ok_or_else(|| Problem::field("after", "a message number from 0 on, given once"))?,
    };
    let limit = match limit {
        None => LIMIT,
        Some(limit) => {
            let limit = limit.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| {
                Problem::field(
                    "limit",
                    &format!("a whole number from 1 to {LIMIT_MAX}, given once"),
                )
            })?
        }
    };
    Ok(json(reader.transitions(after, limit).await?))
}

/// Where health data leaves by this port.
fn json(body: Phi<Vec<u8>>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(body.into_inner())
}

/// The values of these fields of a query; no other may be there, and each once. One that is there twice reads as
/// none that anybody could mean.
fn fields<const N: usize>(
    query: &str,
    known: [&'static str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = known.iter().position(|known| *known == name);
        let slot = place.and_then(|place| values.get_mut(place));
        let slot = slot.ok_or_else(|| match N {
            0 => Problem::unknown_field("none"),
            _ => Problem::unknown_field(&known.join(", ")),
        })?;
        *slot = Some(match slot {
            None => value.into_owned(),
            Some(_) => String::new(),
        });
    }
    Ok(values)
}
