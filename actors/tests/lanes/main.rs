//! The lanes as `run` runs them, on a log and a store in memory: what is promised, at the level of actors.

mod facts;
mod world;
