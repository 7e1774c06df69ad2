//! The series that an expression of Prometheus asks for. It knows of the language what our own rules and dashboards
//! need, and does not judge them: Prometheus does.

use std::collections::BTreeSet;

/// Words that are no metric, beside functions, which have a bracket behind them.
const WORDS: [&str; 16] = [
    "and", "or", "unless", "bool", "offset", "sum", "min", "max", "avg", "count", "topk",
    "quantile", "inf", "nan", "on", "by",
];

/// What have labels behind them, and no series.
const OF_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Each selector of an expression, without range and offset.
pub(super) fn selectors(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = behind_string(rest);
        } else if first == '[' {
            rest = rest.split_once(']').expect("a range ends").1;
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if is_of_a_name(first) {
            let (name, after) = split(rest, |c| !is_of_a_name(c));
            let next = after.trim_start();
            rest = after;
            if OF_LABELS.contains(&name) && next.starts_with('(') {
                rest = next.split_once(')').expect("labels end").1;
            } else if !next.starts_with('(') && !WORDS.contains(&name) {
                let labels = if next.starts_with('{') { braced(next) } else { "" };
                found.insert(format!("{name}{labels}"));
                rest = if labels.is_empty() { after } else { &next[labels.len()..] };
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// The name of a selector's metric.
pub(super) fn metric(selector: &str) -> &str {
    split(selector, |c| c == '{').0
}

fn split(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What follows on the string with which a text begins.
fn behind_string(text: &str) -> &str {
    text[1..].split_once('"').expect("a string ends").1
}

/// The labels with which a text begins; a brace in a value ends nothing.
fn braced(text: &str) -> &str {
    let mut rest = &text[1..];
    loop {
        let at = rest.find(['"', '}']).expect("braces end");
        if rest[at..].starts_with('}') {
            return &text[..text.len() - rest.len() + at + 1];
        }
        rest = behind_string(&rest[at..]);
    }
}

#[test]
fn selectors_are_found_wherever_they_stand() {
    let expression = r#"
        (sum by (instance, le) (rate(a_total{x=~"b|}c", y="sum(z)"}[5m] offset 15m)) > 14.4 * 0.001
        and on (instance) histogram_quantile(0.9, job:b:rate1h)) or vector(1e3)
        / ignoring (part) group_left () up{job="d"} == bool 0"#;
    let found: Vec<String> = selectors(expression).into_iter().collect();
    assert_eq!(found, [r#"a_total{x=~"b|}c", y="sum(z)"}"#, "job:b:rate1h", r#"up{job="d"}"#]);
    assert_eq!(
        found.iter().map(|one| metric(one)).collect::<Vec<_>>(),
        ["a_total", "job:b:rate1h", "up"]
    );
}
