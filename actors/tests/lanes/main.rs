//! The lanes as `run` runs them, on a log and a store in memory: what is promised, at the level of actors.

#![expect(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod boundaries;
mod clauses;
mod commands;
mod facts;
mod keys;
mod pressure;
mod recovery;
mod scrub;
mod simulation;
mod ticks;
mod world;

/// The service's; the system's takes a sixth of the simulation's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
