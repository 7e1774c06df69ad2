//! The benchmark of the whole service ([`durable`]), and the tables that it gives.

pub mod durable;
pub mod table;
