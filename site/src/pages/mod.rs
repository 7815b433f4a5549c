//! Pages, one file each: view struct, handler, tests.

pub(crate) mod compare;
pub(crate) mod engines;
pub(crate) mod gate;
pub(crate) mod hardware;
pub(crate) mod home;
pub(crate) mod imports;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod record;
pub(crate) mod regressions;
pub(crate) mod result;
pub(crate) mod rows;
pub(crate) mod series;
pub(crate) mod tasks;
pub(crate) mod words;
