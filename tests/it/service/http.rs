//! Our own port as whoever asks meets it: TLS, tokens, whose data is shown, and how much anybody may ask.

mod api;
mod debug;
mod development;
mod document;
mod issuer;
mod limits;
mod office;
mod people;
mod refresh;
mod strangers;
mod tls;
mod tokens;
