//! Recorded traces: written by `joulemark meter watch --record`, read by `joulemark meter replay`.
