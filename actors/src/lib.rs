//! One event's way from the log to a committed decision: the lanes, their actors and the ports through
//! which they meet the outside. Nothing here knows Kafka, SQL, ciphers or HTTP.

pub mod cache;
pub mod clock;
pub mod home;
pub mod incoming;
pub mod lane;
pub mod log;
pub mod observe;
pub mod rows;
pub mod seal;
pub mod store;
