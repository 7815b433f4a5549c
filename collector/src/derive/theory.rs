//! Measured against possible: the roofline's columns and its sentence.

use domain::api::{Figure, ResultRow};
use domain::hardware::Catalogue;
use domain::roofline::{
    ABOVE_ROOFLINE, Basis, DecodeCeiling, NoCeiling, PrefillCeiling, decode_ceiling,
    prefill_ceiling,
};

use super::DerivedRecord;
use crate::numbers::number;

/// A cell's ceilings, by the facts of its newest record.
pub(super) struct Theory {
    pub(super) decode: Result<DecodeCeiling, NoCeiling>,
    pub(super) prefill: Result<PrefillCeiling, NoCeiling>,
}

impl Theory {
    pub(super) fn of(record: &DerivedRecord, catalogue: &Catalogue) -> Self {
        let subject = record.facts.subject();
        Self {
            decode: decode_ceiling(&subject, catalogue, record.tokens_per_pass),
            prefill: prefill_ceiling(&subject, catalogue),
        }
    }

    /// Fills the roofline's columns of a row whose speeds are published. The words of
    /// `above-roofline`, if it has to be raised.
    pub(super) fn publish(&self, row: &mut ResultRow, record: &DerivedRecord) -> Option<String> {
        let (decode, prefill) = if record.engine_only {
            (row.engine_decode(), row.engine_prefill())
        } else {
            (row.decode(), row.prefill())
        };
        if let (Some(figure), Ok(ceiling)) = (prefill, &self.prefill) {
            let share = scaled(figure, 1.0 / ceiling.tokens_per_second);
            row.set_figure("prefill_of_theory", share);
        }
        let ceiling = match &self.decode {
            Ok(ceiling) => ceiling,
            Err(reason) => {
                row.roofline_reason = Some(reason.to_string());
                return None;
            }
        };
        let bandwidth = ceiling.bandwidth;
        row.bytes_per_pass = Some(ceiling.bytes_per_pass);
        row.bandwidth_bytes_per_second = Some(bandwidth.bytes_s);
        row.bandwidth_basis = Some(bandwidth.basis.as_str().to_owned());
        row.decode_ceiling_tokens_per_second = Some(ceiling.tokens_per_second);
        let measured = decode?;
        let share = scaled(measured, 1.0 / ceiling.tokens_per_second);
        row.set_figure("decode_of_theory", share);
        row.roofline = Some(sentence(measured.value, share.value, ceiling, record));
        let speculates =
            record.facts.settings.speculation.method != domain::record::SpeculationMethod::None;
        let measured_basis = bandwidth.basis == Basis::Probe;
        // Several streams may have waited for each other: then a pass read less than all caches.
        let alone = record.facts.workload.concurrency <= 1;
        (share.value > ABOVE_ROOFLINE && measured_basis && !speculates && alone).then(|| {
            format!(
                "decode is {} % of what the probe found possible: probe, bytes or speed are wrong",
                number(100.0 * share.value)
            )
        })
    }
}

/// A figure in another unit; its interval goes along.
pub(super) fn scaled(figure: Figure, factor: f64) -> Figure {
    Figure {
        value: figure.value * factor,
        ci95: figure.ci95.map(|(low, high)| (low * factor, high * factor)),
        n: figure.n,
    }
}

/// 1000 over a figure in tokens per second: milliseconds per token, ends changed over.
pub(super) fn milliseconds_each(figure: Figure) -> Figure {
    Figure {
        value: 1e3 / figure.value,
        ci95: figure.ci95.map(|(low, high)| (1e3 / high, 1e3 / low)),
        n: figure.n,
    }
}

/// Such as "31 tok/s = 60 % of what this memory delivers (168 GB/s by probe, 84 % of its data
/// sheet), 50 % of the sheet".
fn sentence(speed: f64, share: f64, ceiling: &DecodeCeiling, record: &DerivedRecord) -> String {
    let bandwidth = ceiling.bandwidth;
    let gigabytes = format!("{} GB/s", number(bandwidth.bytes_s / 1e9));
    let percent = |share: f64| format!("{} %", number(100.0 * share));
    let what = match (
        bandwidth.basis,
        bandwidth.from_cache,
        bandwidth.sheet_bytes_s,
    ) {
        (Basis::DataSheet, ..) => {
            format!("what the memory's data sheet allows ({gigabytes}, not probed)")
        }
        (Basis::Probe, true, _) => format!(
            "what this machine reads at {} MB (cache-resident: {gigabytes} by probe)",
            number(ceiling.bytes_per_pass / 1e6)
        ),
        (Basis::Probe, false, Some(sheet)) => format!(
            "what this memory delivers ({gigabytes} by probe, {} of its data sheet), {} of the sheet",
            percent(bandwidth.bytes_s / sheet),
            percent(share * bandwidth.bytes_s / sheet)
        ),
        (Basis::Probe, false, None) => {
            format!("what this memory delivers ({gigabytes} by probe)")
        }
    };
    let streams = match record.facts.workload.concurrency {
        0 | 1 => String::new(),
        several => format!(" for each of {several} streams"),
    };
    let clock = if record.engine_only {
        " by the engine's own clock"
    } else {
        ""
    };
    let experts = if ceiling.approximate {
        "; streams may need different experts, so that more is read than counted here"
    } else {
        ""
    };
    format!(
        "{} tok/s{streams}{clock} = {} of {what}{experts}",
        number(speed),
        percent(share)
    )
}
