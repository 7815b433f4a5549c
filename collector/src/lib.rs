//! Joulemark's collector: takes signed measurements in, derives every published number from
//! them, and answers the read API.
//!
//! An envelope's way through this room: [`http`] counts its bytes; `ingest` verifies it before
//! parsing, judges it and stores it in one transaction ([`store`], where all SQL is); the
//! [`snapshot`] hears of it and derives ([`mod@derive`]) what is published, judges [`gates`] again and
//! follows figures over time ([`history`]); [`frontier`] answers the question of the project from
//! that snapshot. The database is one of the operator's, or a
//! private cluster that this program runs itself ([`postgres`]).
//!
//! The collector keeps no state outside PostgreSQL and the snapshot rebuilt from it: run as many
//! as needed on one database.

mod collector;
pub mod compare;
pub mod derive;
mod difference;
#[cfg(test)]
mod fixtures;
pub mod frontier;
pub mod gates;
pub mod history;
pub mod http;
pub mod imports;
pub mod ingest;
mod numbers;
pub mod postgres;
pub mod snapshot;
pub mod store;
pub mod tasks;
pub mod variants;

pub use collector::{Collector, CollectorError, CollectorOptions, database_address};
