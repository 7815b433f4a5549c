//! The quality ladder: identical, equal token by token, equal by items; the first rung that decides ends it.
