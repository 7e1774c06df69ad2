//! Sockets as clients meet them: what they reconstruct is what the store holds, whatever happens on the way.

pub(crate) mod client;
mod document;
mod doors;
pub(crate) mod following;
mod limits;
mod two;
