//! What is said when something is not answered: problem documents (RFC 9457). None of them quotes what was
//! asked, by whom or for whom.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

/// Something that is not answered, and why.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// How long whoever asks should wait before they ask again, when something is away.
const WAIT: Duration = Duration::from_secs(5);

impl Problem {
    fn of(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), header: None }
    }

    fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        self.header = value.try_into().ok().map(|value| (name, value));
        self
    }

    fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with(RETRY_AFTER, seconds.max(1))
    }

    /// There is nothing, or nothing that whoever asks may see: nobody is told which.
    pub(super) fn not_found() -> Self {
        Self::of(StatusCode::NOT_FOUND, "there is nothing here that you may see")
    }

    /// A field of the request is not what it must be.
    pub(super) fn field(name: &'static str, wanted: &str) -> Self {
        Self::of(StatusCode::BAD_REQUEST, format!("`{name}` must be {wanted}"))
    }

    /// The request has a field that nobody reads.
    pub(super) fn unknown_field(known: &str) -> Self {
        Self::of(StatusCode::BAD_REQUEST, format!("only these fields are known here: {known}"))
    }

    /// Nobody knows who asks.
    pub(super) fn unauthorized(detail: String, challenge: &'static str) -> Self {
        Self::of(StatusCode::UNAUTHORIZED, detail).with(WWW_AUTHENTICATE, challenge)
    }

    /// Whether it is that nobody knows who asks.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Another method would be answered.
    pub(super) fn method(answered: &'static str) -> Self {
        let detail = format!("only {answered} is answered here");
        Self::of(StatusCode::METHOD_NOT_ALLOWED, detail).with(ALLOW, answered)
    }

    /// What was asked for comes to nothing, as things stand.
    pub(super) fn conflict(outcome: String) -> Self {
        Self::of(StatusCode::CONFLICT, outcome)
    }

    /// A field is as it must be, and what it asks for cannot be had.
    pub(super) fn unprocessable(name: &'static str, detail: &str) -> Self {
        Self::of(StatusCode::UNPROCESSABLE_ENTITY, format!("`{name}`: {detail}"))
    }

    /// There is a socket here, and nothing else.
    pub(super) fn no_upgrade() -> Self {
        let detail = "this is a WebSocket (RFC 6455, version 13): send its handshake";
        Self::of(StatusCode::UPGRADE_REQUIRED, detail).with(UPGRADE, "websocket")
    }

    /// A page from elsewhere opens a socket.
    pub(super) fn origin() -> Self {
        Self::of(StatusCode::FORBIDDEN, "pages of this origin are not in `http.origins`")
    }

    /// The client does not speak what is spoken here.
    pub(super) fn subprotocol(spoken: &str) -> Self {
        let detail = format!("offer the subprotocol: `Sec-WebSocket-Protocol: {spoken}`");
        Self::of(StatusCode::BAD_REQUEST, detail)
    }

    /// Somebody has as many sockets as they may.
    pub(super) fn too_many_sockets() -> Self {
        let detail =
            "as many sockets are open as one subject may have (`http.sockets_per_subject`)";
        Self::of(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(WAIT)
    }

    /// Too many requests; after `wait` there may be another.
    pub(super) fn too_many(wait: Duration) -> Self {
        Self::of(StatusCode::TOO_MANY_REQUESTS, "too many requests; ask again later")
            .retry_after(wait)
    }

    /// The body is longer than any that is read.
    pub(super) fn body_too_long() -> Self {
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, "the body of the request is too long")
    }

    /// The head is longer than any that is needed.
    pub(super) fn head_too_long() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::of(status, "the head of the request is too long")
    }

    /// Something is away that may come back.
    pub(super) fn unavailable(detail: &'static str) -> Self {
        Self::of(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(WAIT)
    }

    /// What is stored cannot be shown, and waiting does not help.
    pub(super) fn broken() -> Self {
        let detail = "what is stored cannot be opened; the service's log says why";
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = HttpResponse::build(self.status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(header) = self.header.clone() {
            response.insert_header(header);
        }
        response.body(body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_to_wait_is_told_whole_seconds_and_never_none() {
        for (wait, told) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (90_000, "90")] {
            let response = Problem::too_many(Duration::from_millis(wait)).error_response();
            assert_eq!(response.headers().get(RETRY_AFTER).expect("told"), told);
        }
    }
}
