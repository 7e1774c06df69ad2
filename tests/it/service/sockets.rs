//! Sockets as clients meet them: what they reconstruct is what the store holds, whatever happens on the way.

mod browser;
mod changes;
pub(crate) mod client;
mod document;
mod doors;
mod expansion;
pub(crate) mod following;
mod life;
mod limits;
mod two;
