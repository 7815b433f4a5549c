//! What a gate can decide, before it measures: blocks, detectable effect, items; and which policies never could.
