//! Planted texts and numbers, and the search for them in every form in which a log, an answer or a store may hold
//! them. Knows nothing of where it is searched.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

/// Finds planted things.
pub(super) struct Marks {
    finder: AhoCorasick,
    /// Which mark each pattern is a form of.
    names: Vec<String>,
}

/// Bytes around what was found that a failure shows.
const AROUND: usize = 90;

impl Marks {
    pub(super) fn of<'t>(texts: impl IntoIterator<Item = &'t str>, numbers: &[f64]) -> Self {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        let texts = texts.into_iter().map(str::to_owned);
        for text in texts.chain(numbers.iter().map(f64::to_string)) {
            for pattern in forms(text.as_bytes()) {
                names.push(text.clone());
                patterns.push(pattern);
            }
        }
        for number in numbers {
            for bytes in [number.to_le_bytes(), number.to_be_bytes()] {
                for pattern in forms(&bytes) {
                    names.push(number.to_string());
                    patterns.push(pattern);
                }
            }
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostFirst)
            .build(&patterns)
            .expect("the patterns are few");
        Self { finder, names }
    }

    /// The first mark in `bytes`, with what stands around it.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<String> {
        let found = self.finder.find(bytes)?;
        let from = found.start().saturating_sub(AROUND);
        let to = (found.end() + AROUND).min(bytes.len());
        let around = String::from_utf8_lossy(&bytes[from..to]).into_owned();
        Some(format!("{:?} in {around:?}", self.names[found.pattern().as_usize()]))
    }
}

/// As it is, as PostgreSQL prints bytes (hex, and octal escapes), in base64 at each of the three places where it may
/// begin, percent-encoded, and as JSON may escape it.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let each = |form: fn(&u8) -> String| bytes.iter().map(form).collect::<String>();
    let mut forms = vec![
        bytes.to_vec(),
        each(|byte| format!("{byte:02x}")).into_bytes(),
        each(|byte| format!("\\{byte:03o}")).into_bytes(),
        each(|byte| format!("%{byte:02x}")).into_bytes(),
        each(|byte| format!("\\u{byte:04x}")).into_bytes(),
    ];
    for before in 0..3 {
        let whole = [vec![0; before], bytes.to_vec()].concat();
        // Characters that depend on these bytes alone.
        let (from, to) = (before * 8_usize.div_ceil(6), whole.len() * 8 / 6);
        for encoded in
            [BASE64_STANDARD_NO_PAD.encode(&whole), BASE64_URL_SAFE_NO_PAD.encode(&whole)]
        {
            forms.push(encoded.as_bytes()[from.min(to)..to].to_vec());
        }
    }
    forms
}

#[test]
fn a_mark_is_found_in_every_form_and_nothing_else_is() {
    let marks = Marks::of(["zebrafink-note"], &[43.219_871]);
    for (form, told) in [
        ("a zebrafink-note b", "zebrafink-note"),
        ("\\x007a6562726166696e6b2d6e6f746500", "zebrafink-note"),
        ("%7A%65%62%72%61%66%69%6E%6B%2D%6E%6F%74%65", "zebrafink-note"),
        ("\"hrv\":43.219871,", "43.219871"),
    ] {
        let found = marks.find(form.as_bytes());
        assert!(found.as_ref().is_some_and(|found| found.contains(told)), "{form}: {found:?}");
    }
    for before in 0..4 {
        let bytes = [vec![b'x'; before], b"zebrafink-note".to_vec(), vec![b'y'; 5]].concat();
        assert!(marks.find(BASE64_STANDARD_NO_PAD.encode(&bytes).as_bytes()).is_some(), "{before}");
        let number = [vec![1; before], 43.219_871_f64.to_le_bytes().to_vec(), vec![2; 4]].concat();
        let encoded = BASE64_STANDARD_NO_PAD.encode(&number);
        assert!(marks.find(encoded.as_bytes()).is_some(), "{before}");
        assert!(marks.find(&number).is_some());
    }
    for other in ["zebrafink note", "43.21", "0.043219871", "7a6562726166696e6b2e6e6f7465"] {
        assert_eq!(marks.find(other.as_bytes()), None, "{other}");
    }
}
