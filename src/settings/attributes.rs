//! The setting that names what describes a service beside its name: attributes of OpenTelemetry's resource, as its own
//! variable has them.

use super::node::{Content, quoted};
use super::setting::{Setting, Wrong};
use super::text::yaml;

/// Names and values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, String)>);

impl Attributes {
    /// Each with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// As they are written: `name=value,name=value`, with `%2C` for a comma.
    fn to_text(&self) -> String {
        let escape = |text: &str| text.replace('%', "%25").replace(',', "%2C").replace('=', "%3D");
        let pair = |(name, value): (&str, &str)| format!("{}={}", escape(name), escape(value));
        self.iter().map(pair).collect::<Vec<_>>().join(",")
    }
}

/// A text with its percent-encoded bytes as they are; `None` when that is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.trim().as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

impl Setting for Attributes {
    type Limits = ();

    fn read(given: &Content, (): &()) -> Result<Self, Wrong> {
        let text = match given {
            Content::Null => "",
            // The environment and the command line have texts only.
            Content::Text(text) if text == "null" => "",
            Content::Text(text) => text,
            _ => return Err(Wrong::Kind),
        };
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        let read = |pair: &str| {
            let read = pair.split_once('=');
            let read = read.and_then(|(name, value)| Some((decoded(name)?, decoded(value)?)));
            let wrong = || {
                let named = quoted(pair.trim());
                Wrong::Because(format!("has {named}; wanted is a name, =, and a value"))
            };
            read.ok_or_else(wrong)
        };
        pairs.map(read).collect::<Result<_, _>>().map(Self)
    }

    fn show(&self) -> String {
        if self.0.is_empty() { "null".to_owned() } else { yaml(&self.to_text()) }
    }

    fn wanted((): &()) -> String {
        "names and values, such as deployment.environment.name=production,team=care".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Attributes, Wrong> {
        Attributes::read(&Content::Text(text.to_owned()), &())
    }

    #[test]
    fn attributes_are_pairs_whose_signs_may_be_escaped() {
        let text = "deployment.environment.name=production, team=care%2Cnight%3D1%25";
        let read_once = read(text).expect("pairs");
        let pairs: Vec<_> = read_once.iter().collect();
        let wanted = [("deployment.environment.name", "production"), ("team", "care,night=1%")];
        assert_eq!(pairs, wanted);
        assert_eq!(read(&read_once.to_text()).expect("pairs"), read_once);
        assert_eq!(read("").expect("none"), Attributes::default());
        for wrong in ["team", "=care", "team=", "team=%zz", "team=%c3", "a=b%0a"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
