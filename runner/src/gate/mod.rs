//! The gate's run: blocks of slots, each slot one fresh process of one arm, all raw.
//!
//! An [`arm`] is what is typed for base and candidate; [`slot`] starts one process of it, asks it
//! for every cell of a model and stamps what comes back, outside of the process that is judged. The
//! run itself ([`run`]) tosses the coins, takes turns, watches the machine, and looks when looks are
//! planned, by the rules of `domain::gate`; [`quality`] climbs the ladder of answers. It decides
//! nothing: what it measured is sealed, and [`domain::gate::verdict::judge`] speaks.

pub mod aa;
pub mod arm;
pub mod checkout;
pub mod control;
mod energy;
pub mod keep;
pub mod quality;
pub mod run;
pub mod slot;
