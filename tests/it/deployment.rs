//! What operators are given, walked as they walk it: the guide's commands, a loss of everything with what the guide
//! says about it, and more instances.

mod guide;
mod scale;
