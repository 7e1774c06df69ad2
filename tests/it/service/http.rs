//! Our own port as whoever asks meets it: TLS, tokens, whose data is shown, and how much anybody may ask.

mod api;
mod debug;
mod development;
mod document;
mod embedded;
pub(crate) mod issuer;
mod limits;
pub(crate) mod office;
pub(crate) mod people;
mod refresh;
mod retained;
mod said;
mod strangers;
pub(crate) mod tls;
mod tokens;
