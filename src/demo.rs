//! The demo: the whole service with a broker of its own in the process, SQLite in a folder, and recorded
//! people. Nothing of it is a stand-in but the broker.

mod feed;
mod people;
mod player;
mod view;

pub use feed::{ModeChange, follow};
pub use people::{RECORDINGS, Recording};
pub use player::{Played, play};
pub use view::View;
