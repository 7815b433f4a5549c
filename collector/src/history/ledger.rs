//! The drift ledger: what gates let pass although it was worse, summed up by cell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::history::LedgerRow;

use crate::gates::{JudgedGate, decided};

/// The ledger, the largest sum first. `gates` are newest first; of the same two builds the newest
/// gate that decided a cell counts.
pub(super) fn rows(gates: &[Arc<JudgedGate>]) -> Vec<LedgerRow> {
    let mut rows: BTreeMap<_, LedgerRow> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for gate in gates.iter().filter(|gate| gate.decides()) {
        for cell in &gate.judgement.cells {
            // One that came to nothing hides none that did.
            if !decided(cell.verdict) {
                continue;
            }
            let of = (&gate.row.setup, &gate.row.engine, &cell.label, cell.metric);
            if !seen.insert((of, &gate.arms.base, &gate.arms.candidate)) {
                continue;
            }
            let passed = cell.small_regression || cell.waived.is_some();
            let Some(effect) = cell.effect.filter(|effect| passed && *effect > 0.0) else {
                continue;
            };
            let row = rows.entry(of).or_insert_with(|| LedgerRow {
                setup: gate.row.setup.clone(),
                engine: gate.row.engine.clone(),
                engine_slug: gate.row.engine_slug.clone(),
                cell: cell.label.clone(),
                metric: cell.metric.as_str().to_owned(),
                latest_at: gate.row.measured_at.clone(),
                ..LedgerRow::default()
            });
            row.gates += 1;
            row.sum_ln += effect.ln_1p();
            row.effect = row.sum_ln.exp_m1();
        }
    }
    let mut rows: Vec<LedgerRow> = rows.into_values().collect();
    // Rows of equal sums stay in the order of their names.
    rows.sort_by(|a, b| b.sum_ln.total_cmp(&a.sum_ln));
    rows
}
