//! The image and the compose file: rules of our own over what an engine would read, the linters that others wrote, and the parts of
//! the compose file run as they are, by real servers on this machine.

mod compose;
mod context;
mod image;
mod linters;
mod root;
pub(in crate::deployment) mod trial;
mod watching;
