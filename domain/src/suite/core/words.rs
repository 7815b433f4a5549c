//! Names and things that the generators draw from.
