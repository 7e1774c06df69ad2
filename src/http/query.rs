//! What stands behind the question mark and in bodies: fields that are known, each once, each checked. No error
//! quotes what was sent.

use actix_web::web::Payload;
use neuros::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::form_urlencoded;
use utoipa::ToSchema;

use super::BODY_BYTES_MAX;
use super::problem::Problem;

/// Entries of a page, when nobody says how many, and at most.
pub(super) const LIMIT: u32 = 100;
/// See [`LIMIT`].
pub(super) const LIMIT_MAX: u32 = 1_000;

/// A part of a list that is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Entries behind this number.
    pub(super) after: i64,
    /// So many at most.
    pub(super) limit: u32,
}

impl Page {
    /// The page that these fields ask for.
    pub(super) fn of(after: Option<String>, limit: Option<String>) -> Result<Self, Problem> {
        Self::within(after, limit, LIMIT_MAX)
    }

    /// The same of at most so many entries.
    pub(super) fn within(
        after: Option<String>,
        limit: Option<String>,
        most: u32,
    ) -> Result<Self, Problem> {
        let after = match after {
            None => 0,
            Some(after) => {
                let after = after.parse().ok().filter(|after| *after >= 0);
                after.ok_or_else(|| Problem::field("after", "a number from 0 on, given once"))?
            }
        };
        let limit = match limit {
            None => LIMIT.min(most),
            Some(limit) => whole("limit", &limit, 1..=most)?,
        };
        Ok(Self { after, limit })
    }
}

/// A whole number within bounds.
pub(super) fn whole(
    name: &'static str,
    text: &str,
    bounds: std::ops::RangeInclusive<u32>,
) -> Result<u32, Problem> {
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| {
        let (first, last) = bounds.into_inner();
        Problem::field(name, &format!("a whole number from {first} to {last}, given once"))
    })
}

/// Yes or no.
pub(super) fn flag(name: &'static str, text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::field(name, "true or false, given once")),
    }
}

/// An instant (RFC 3339, section 5.6), the nearest one that the store can have.
pub(super) fn time(name: &'static str, text: &str) -> Result<Timestamp, Problem> {
    let instant = text.parse::<jiff::Timestamp>().ok();
    let micros = instant.map(|instant| instant.as_microsecond().clamp(0, YEAR_9999));
    micros.map(Timestamp::from_micros).ok_or_else(|| {
        Problem::field(
            name,
            "a time such as 2025-03-03T08:00:00Z, in a query with `+` as `%2B`, given once",
        )
    })
}

/// 9999-01-01T00:00:00Z.
const YEAR_9999: i64 = 253_370_764_800_000_000;

/// The values of these fields of a query; no other may be there, and each once. One that is there twice reads as
/// none that anybody could mean.
pub(super) fn fields<const N: usize>(
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

/// Nothing needs to be said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The JSON object that a request has as its body; none at all, and `null`, is an empty one.
pub(super) async fn body<T: DeserializeOwned>(
    payload: Payload,
    wanted: &'static str,
) -> Result<T, Problem> {
    let read = payload.to_bytes_limited(BODY_BYTES_MAX).await;
    let read = read.map_err(|_| Problem::body_too_long())?;
    let bytes = read.map_err(|_| Problem::field("body", "sent to its end"))?;
    let bytes: &[u8] = if matches!(&*bytes, b"" | b"null") { b"{}" } else { &bytes };
    // An array would be taken for an object's values in order.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    let read = serde_json::from_slice(bytes).ok().filter(|_| is_object);
    read.ok_or_else(|| Problem::field("body", wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_known_or_is_there_twice_is_never_read() {
        let read = |query| fields(query, ["a", "b"]);
        assert_eq!(read("").expect("none"), [None, None]);
        assert_eq!(read("b=%31&a=").expect("both"), [Some(String::new()), Some("1".to_owned())]);
        assert_eq!(read("a=1&a=2").expect("once").first(), Some(&Some(String::new())));
        assert!(read("c=1").is_err());
    }

    #[test]
    fn a_time_says_where_on_earth_it_is_meant() {
        let read = |text| time("at", text).map(Timestamp::as_micros).ok();
        assert_eq!(read("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(read("1970-01-01T00:00:00.000001Z"), Some(1));
        for text in ["", "now", "1970-01-01", "1970-01-01T00:00:00", "7"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("0001-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("9999-06-01T00:00:00Z"), Some(YEAR_9999));
    }

    #[test]
    fn a_page_has_bounds() {
        let page = |after: &str, limit: &str| {
            Page::of(Some(after.to_owned()), Some(limit.to_owned())).ok()
        };
        assert_eq!(page("7", "1000"), Some(Page { after: 7, limit: 1_000 }));
        for (after, limit) in [("-1", "1"), ("1", "0"), ("1", "1001"), ("x", "1"), ("1", "")] {
            assert_eq!(page(after, limit), None, "{after} {limit}");
        }
    }
}
