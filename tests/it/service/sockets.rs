//! Sockets as clients meet them: what they reconstruct is what the store holds, whatever happens on the way.

mod browser;
mod changes;
pub(super) mod client;
mod document;
mod doors;
mod expansion;
mod following;
mod life;
mod limits;
mod two;
