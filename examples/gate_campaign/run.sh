#!/usr/bin/env bash
# The whole campaign, from nothing to docs/gate-honesty.md: some hours on two cores that nothing else loads.
# Stopped with Ctrl-C, it goes on where it was when it is run again. Each of two processes is held on
# a core of its own, with all that it starts: without that, the system may move the arm between cores while it is timed.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --example slowed_arm --example gate_campaign
campaign=target/release/examples/gate_campaign
lane() {
  taskset -c "$1" "$campaign" calibrate --lane "$1" --lanes 2
  taskset -c "$1" "$campaign" live --lane "$1" --lanes 2
}
(
  taskset -c 0 "$campaign" aa-blocks
  lane 0
) &
first=$!
lane 1 &
second=$!
wait "$first"
wait "$second"
"$campaign" report > docs/gate-honesty.new
mv docs/gate-honesty.new docs/gate-honesty.md
