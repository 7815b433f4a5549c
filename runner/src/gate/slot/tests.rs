//! Slots of real processes: those that do what is asked, and those that do not.
