//! Joulemark's collector.

pub mod postgres;
pub mod store;
