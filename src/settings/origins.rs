//! The setting that names pages in browsers: their origins (RFC 6454), as browsers send them. Compared as texts.

use std::collections::BTreeSet;

use super::node::{Content, quoted};
use super::setting::{Setting, Wrong};
use super::text::yaml;

/// Origins of pages that may open sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeSet<String>);

impl Origins {
    /// Whether this is one of them.
    pub fn contains(&self, origin: &str) -> bool {
        self.0.contains(origin)
    }
}

/// Whether a text is as a browser sends an origin: scheme, host and perhaps a port, in lower case.
fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

impl Setting for Origins {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let origins: Option<Vec<&str>> = match given {
            Content::Null => Some(Vec::new()),
            Content::Text(text) => {
                Some(text.split(',').filter(|word| !word.trim().is_empty()).collect())
            }
            Content::List(list) => list.iter().map(|origin| origin.value.word()).collect(),
            Content::Bool(_) | Content::Number(_) | Content::Mapping(_) => None,
        };
        let origins = origins.ok_or(Wrong::Kind)?;
        let checked = origins.into_iter().map(str::trim).map(|origin| match is_origin(origin) {
            true => Ok(origin.to_owned()),
            false => {
                let named = quoted(origin);
                let wanted = "origins as browsers send them, such as https://app.example";
                Err(Wrong::Because(format!("names {named}; wanted are {wanted}")))
            }
        });
        checked.collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        let origins: Vec<String> = self.0.iter().map(|origin| yaml(origin)).collect();
        format!("[{}]", origins.join(", "))
    }

    fn wanted((): &()) -> String {
        "a list of origins, each such as https://app.example".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_as_a_browser_sends_it() {
        let read = |text: &str| Origins::read(&Content::Text(text.to_owned()), &());
        let both = read("https://app.example, http://localhost:5173").expect("origins");
        assert_eq!(both.show(), "[http://localhost:5173, https://app.example]");
        assert!(both.contains("https://app.example"));
        assert!(!both.contains("https://app.example:444") && !both.contains("null"));
        for wrong in
            ["https://app.example/", "https://App.example", "https://app.example:443", "*", "null"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
