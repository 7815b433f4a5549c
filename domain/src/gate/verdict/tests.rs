//! Every verdict by records that are made for it.
