//! The bridge as a client: what the peer at `WEBSOCKET_URL` reconstructs is what the store holds, whatever becomes of
//! the peer, of the connection and of the instances.

mod delivery;
mod manners;
pub(crate) mod peer;
mod trouble;
