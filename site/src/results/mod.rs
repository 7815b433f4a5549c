//! What the site knows: the read API's answers, fetched through a tower service.

mod client;
mod last_good;

pub use client::{Answer, Client, ReadError};
