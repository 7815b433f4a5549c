//! The runner: from a matrix and a machine to signed records at a collector.
//!
//! One cell's way through it, in [`sweep`]: the [`plan`] says what to run, in which order and
//! what is skipped and why; [`variant`] makes the weights file; [`engine`] answers while
//! [`measure`] times it and [`quality`] asks the suite; [`meter`] reads what power counters
//! there are; [`record`] puts the raw samples together; [`seal`] signs the exact bytes with the
//! machine's key from [`keys`]; [`spool`] stores them so that nothing loses them; [`submit`]
//! sends them until the collector has acknowledged each.
//!
//! Everything that decides is a pure function of its arguments; clocks ([`clock`]), files
//! ([`host`], [`context`]) and counters come in through seams that tests replace. A failing cell
//! is a result too: it is recorded, sealed and published as failed, and the sweep goes on.

pub mod clock;
pub mod context;
pub mod doctor;
pub mod engine;
pub mod fidelity;
pub mod gate;
pub mod gguf;
pub mod host;
pub mod keys;
pub mod machines;
pub mod measure;
pub mod meter;
pub mod plan;
pub mod probe;
pub mod prompt;
pub mod quality;
pub mod record;
pub mod seal;
pub mod spool;
pub mod state;
pub mod submit;
pub mod sweep;
pub mod variant;
