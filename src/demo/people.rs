//! The recorded people that the demo replays; whose they are and under which licence stands in
//! `tests/data/people/PROVENANCE.md`.

/// A recorded person: a name and a log in the format of `replay`.
#[derive(Clone, Copy)]
pub struct Recording {
    /// The user id in the log.
    pub name: &'static str,
    /// One record a line.
    pub log: &'static str,
}

macro_rules! recordings {
    ($( $name:literal ),+ $(,)?) => {
        &[$( Recording {
            name: $name,
            log: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/tests/data/people/", $name, ".ndjson"
            )),
        } ),+]
    };
}

/// All recordings, by name.
pub const RECORDINGS: &[Recording] = recordings![
    "exam-s02",
    "exam-s06",
    "oura-p1",
    "polar-p1",
    "stress-s05",
    "stress-s13",
    "welltory-p1",
    "welltory-p2",
    "welltory-p3",
    "whoop-p1",
];
