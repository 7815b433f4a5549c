//! Where a series changed: rank-CUSUM for suspects, the permutation maximum for what is certified.
