//! Sockets as clients meet them: what they reconstruct is what the store holds, whatever happens on the way.

pub(super) mod client;
mod document;
mod doors;
mod following;
mod limits;
mod two;
