//! Text that is JSON, or nearly: valid values and what people and machines get wrong in them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// How many objects and arrays may be open at once.
const DEPTH_MAX: usize = 64;

/// The bytes of a JSON text, often damaged in a few places.
pub(crate) fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let damages = prop_oneof![2 => Just(Vec::new()), 3 => vec(damage(), 1..4)];
    (value(), damages).prop_map(|(text, damages)| {
        let mut bytes = text.into_bytes();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        bytes
    })
}

/// The text of a JSON value, which may already hold an error.
pub(crate) fn value() -> impl Strategy<Value = String> {
    let wrong = ["nul", "True", "NaN", "Infinity", "'a'", "", "/**/1", "\u{feff}1"];
    let leaf = prop_oneof![
        3 => number(),
        3 => string(),
        2 => select(&["null", "true", "false", "{}", "[]"][..]).prop_map(str::to_owned),
        1 => select(wrong.to_vec()).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let member = (key(), space(), space(), inner.clone())
            .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"));
        let comma =
            prop_oneof![20 => Just(","), 5 => Just(" ,\n"), 1 => Just(";"), 1 => Just(",,")];
        prop_oneof![
            (vec(member, 0..6), comma.clone(), space()).prop_map(|(members, comma, space)| {
                format!("{{{space}{}{space}}}", members.join(comma))
            }),
            (vec(inner, 0..6), comma, space()).prop_map(|(elements, comma, space)| {
                format!("[{space}{}{space}]", elements.join(comma))
            }),
        ]
    })
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just(""),
        3 => select(&[" ", "\n", "\r\n\t ", "  "][..]),
        1 => select(&["\u{c}", "\u{a0}", "\u{b}"][..]),
    ]
}

/// Any key but the one that makes a CloudEvent, whose payload is another text.
fn key() -> impl Strategy<Value = String> {
    let keys =
        ["user_id", "device_id", "timestamp", "metrics", "readings", "metric", "value", "data"];
    prop_oneof![4 => select(keys.to_vec()).prop_map(|key| format!("\"{key}\"")), 1 => string()]
}

fn number() -> impl Strategy<Value = String> {
    let whole = select(&["0", "7", "42", "1740988800", "18446744073709551616", "00", "01", ""][..]);
    let fraction = select(&["", "", ".5", ".0000000000000000000000001", ".", ".e1"][..]);
    let exponent = select(&["", "", "e5", "E+7", "e-400", "e", "e+", "E-0"][..]);
    (select(&["", "", "", "-", "+", "--"][..]), whole, fraction, exponent)
        .prop_map(|(sign, whole, fraction, exponent)| format!("{sign}{whole}{fraction}{exponent}"))
}

fn string() -> impl Strategy<Value = String> {
    let plain = ["a", "hrv", " ", "é", "漢", "😀", "/", "\u{7f}", "\u{85}", "{", "]", "\u{2028}"];
    let escaped =
        ["\\n", "\\\"", "\\\\", "\\/", "\\u00e9", "\\u0000", "\\ud83d\\ude00", "\\uD834\\uDD1E"];
    let wrong = [
        "\\x",
        "\\u12",
        "\\u12g4",
        "\\ud800",
        "\\ude00",
        "\\ud800\\n",
        "\\ud800\\ud800",
        "\n",
        "\u{0}",
        "\\",
        "\\U0041",
    ];
    let piece = prop_oneof![
        12 => select(plain.to_vec()),
        6 => select(escaped.to_vec()),
        1 => select(wrong.to_vec()),
    ];
    vec(piece, 0..12).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flipped(Index, u8),
    Inserted(Index, u8),
    Removed(Index),
    Doubled(Index, Index),
    CutOff(Index),
}

pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        4 => select(&b"{}[]\":,\\u0159eE+-. \n"[..]),
        1 => select(&[0, 0x1f, 0x7f, 0x80, 0xc3, 0xed, 0xff][..]),
    ];
    prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(place, bit)| Damage::Flipped(place, bit)),
        (any::<Index>(), byte).prop_map(|(place, byte)| Damage::Inserted(place, byte)),
        any::<Index>().prop_map(Damage::Removed),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Doubled(from, to)),
        any::<Index>().prop_map(Damage::CutOff),
    ]
}

impl Damage {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Self::Inserted(place, byte) => bytes.insert(place.index(length + 1), *byte),
            _ if bytes.is_empty() => {}
            Self::Flipped(place, bit) => bytes[place.index(length)] ^= 1 << bit,
            Self::Removed(place) => {
                bytes.remove(place.index(length));
            }
            Self::Doubled(one, other) => {
                let (one, other) = (one.index(length), other.index(length));
                let slice = bytes[one.min(other)..=one.max(other)].to_vec();
                bytes.splice(one..one, slice);
            }
            Self::CutOff(place) => bytes.truncate(place.index(length)),
        }
    }
}

/// What the reference says: `None` where the two are known to differ, because a number lies beyond
/// the doubles (to be excluded as a reading, not refused) or the depth allowed is another.
pub(crate) fn is_json(bytes: &[u8]) -> Option<bool> {
    let depth = bytes.iter().fold((0_usize, 0), |(depth, deepest), byte| match byte {
        b'{' | b'[' => (depth + 1, deepest.max(depth + 1)),
        b'}' | b']' => (depth.saturating_sub(1), deepest),
        _ => (depth, deepest),
    });
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        _ if depth.1 > DEPTH_MAX => None,
        Err(error) if error.to_string().starts_with("number out of range") => None,
        read => Some(read.is_ok()),
    }
}
