//! Properties of the engine, its checkpoints and the wire format, over generated records.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report of a failure")]

mod properties {
    mod checkpoints;
    mod counterfactuals;
    mod coverage;
    mod engine;
    mod exclusions;
    mod logs;
    mod mutations;
    mod outcomes;
    mod records;
    mod settings;
    mod shapes;
    mod sizes;
    mod text;
    mod wire;
    mod world;
}
