//! Our own port as whoever asks meets it: TLS, tokens, whose data is shown, and how much anybody may ask.

mod api;
mod debug;
mod development;
mod document;
pub(super) mod issuer;
mod limits;
pub(super) mod office;
pub(super) mod people;
mod refresh;
mod strangers;
mod tls;
mod tokens;
