//! stub for now
use crate::event::Event;
use crate::policy::Policy;
use crate::state::State;
use crate::step::{Incoming, Taken};
/// x
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation;
impl std::fmt::Display for Explanation { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }
impl serde::Serialize for Explanation { fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_unit() } }
impl Explanation {
    pub(crate) fn of(_: &Taken, _: &Incoming, _: &Event<'_>, _: &State, _: &Policy) -> Self { Self }
}
