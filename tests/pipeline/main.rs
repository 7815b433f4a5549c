//! The whole way, with the real program: sweep, sign, spool, submit, verify, store, derive, page.

#[path = "../harness/mod.rs"]
mod harness;

mod engines;
mod gate;
mod hostile;
mod import;
mod joules;
mod killed;
mod meter;
mod paired;
mod quality;
mod quickstart;
mod sweep;
