//! Joules of other hosts: the leading runner asks each host's `joulemark meter serve`.
