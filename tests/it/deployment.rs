//! How the bridge is put onto machines, and watched there: what is shipped beside the program is held against the
//! program, and the operators' guide is walked. Never needs a cluster or a container engine.

mod alerts;
mod chart;
mod dashboards;
pub(crate) mod docker;
mod drain;
mod guide;
mod nginx;
mod promql;
mod runbook;
mod scale;
mod supply;
mod watched;

/// A rule that cannot fail is none: the text obeys all of them, and each plant (what is replaced, by what) is noticed by a
/// fault that says so.
fn each_is_noticed(
    text: &str,
    faults: impl Fn(&str) -> Vec<String>,
    plants: &[(&str, &str, &str)],
) {
    assert_eq!(faults(text), Vec::<String>::new());
    for (from, to, said) in plants {
        assert!(text.contains(from), "there is no {from:?} to be replaced");
        let found = faults(&text.replacen(from, to, 1));
        let is_noticed = found.iter().any(|fault| fault.contains(said));
        assert!(is_noticed, "{from:?} became {to:?}, and nothing says {said:?}: {found:?}");
    }
}
