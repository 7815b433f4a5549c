//! Joulemark's vocabulary, and every judgement that runner and collector must share.
//!
//! This crate is pure: no IO, no clock, no randomness, no async. Time and randomness come in
//! as arguments, so that whoever holds the same signed bytes computes the same numbers.
//!
//! A value's way through it: a [`record::Record`] of raw samples is sealed in an
//! [`envelope`], parsed strictly ([`json`]) once its signature was verified, checked against
//! physics ([`plausibility`]), scored against regenerated items ([`suite`]), reduced by
//! [`statistics`] and [`energy`], and answered in the shapes of [`api`].

pub mod api;
pub mod byte_tokenizer;
pub mod corpus;
pub mod energy;
pub mod envelope;
pub mod fidelity;
pub mod gate;
pub mod hardware;
pub mod history;
pub mod ids;
pub mod import;
pub mod json;
pub mod matrix;
pub mod plausibility;
pub mod query;
pub mod record;
pub mod roofline;
pub mod scope;
pub mod speeds;
pub mod statistics;
pub mod suite;
pub mod text;
pub mod tier;
pub mod units;
