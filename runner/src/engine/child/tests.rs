//! Children that keep to the protocol, and those that do not.
