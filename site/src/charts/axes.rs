//! Axes: which values have a place, where it is, and 1-2-5 ticks with readable labels.

use std::ops::Range;

use domain::api::Objective;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::format::{number, rough, trimmed};

/// Larger magnitudes have no place: they are no measurements.
const LARGEST: f64 = 1e12;
/// Smaller values have no place on a logarithmic axis.
const SMALLEST_LOG: f64 = 1e-9;

/// What an axis shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One of the frontier's objectives.
    Objective(Objective),
    /// Tokens per second, linear: repetitions of one cell lie close together.
    Speed,
    /// Watts, linear, from 0.
    Watts,
    /// Seconds since a record began.
    Seconds,
    /// 1, 2, 3 …
    Ordinal,
    /// Quality less that of the reference, in points of 100.
    Points,
    /// Rows below each other, named beside the frame: no ticks.
    Rows,
    /// Unix seconds, with calendar days below the axis.
    Time,
    /// A figure of a series, in the unit that stands beside the chart.
    Value {
        /// Equal ratios are equally far apart.
        logarithmic: bool,
    },
    /// Change against the base, in percent.
    Change,
}

/// The last second with a four-digit year.
const LAST_SECOND: f64 = 253_402_300_799.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;

impl Measure {
    /// Written at the axis.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Objective(Objective::Price) => "Price, US dollars",
            Self::Objective(Objective::Quality) => "Quality, share of answers right",
            Self::Objective(Objective::Decode) => "Decode speed, tokens per second",
            Self::Objective(Objective::Joules) => "Joules per correct answer",
            Self::Speed => "Tokens per second",
            Self::Watts => "Watts",
            Self::Seconds => "Seconds",
            Self::Ordinal => "Repetition",
            Self::Points => "Quality against the reference, points of 100",
            Self::Change => "Candidate against base, % of cost",
            Self::Rows | Self::Time | Self::Value { .. } => "",
        }
    }

    /// Spans orders of magnitude.
    pub(crate) fn is_logarithmic(self) -> bool {
        matches!(
            self,
            Self::Objective(Objective::Price | Objective::Decode | Objective::Joules)
                | Self::Value { logarithmic: true }
        )
    }

    /// The value can have a place.
    pub(crate) fn admits(self, value: f64) -> bool {
        match self {
            Self::Objective(Objective::Quality) => (0.0..=1.0).contains(&value),
            Self::Watts | Self::Seconds => (0.0..=LARGEST).contains(&value),
            Self::Points => (-100.0..=100.0).contains(&value),
            Self::Time => (0.0..=LAST_SECOND).contains(&value),
            _ if self.is_logarithmic() => (SMALLEST_LOG..=LARGEST).contains(&value),
            _ => value.abs() <= LARGEST,
        }
    }

    fn label(self, value: f64, decimals: Option<usize>) -> String {
        let text = |value: f64, shift: usize| match decimals {
            Some(decimals) => number(value, decimals.saturating_sub(shift)),
            None => rough(value),
        };
        match self {
            Self::Objective(Objective::Price) => format!("${}", text(value, 0)),
            Self::Objective(Objective::Quality) => format!("{} %", text(value * 100.0, 2)),
            Self::Ordinal => trimmed(value, 0),
            Self::Rows => String::new(),
            // A step of whole days has no decimals, a shorter one has: see `days`.
            Self::Time => moment(value, decimals.is_some()),
            Self::Points | Self::Change if value > 0.0 => format!("+{}", text(value, 0)),
            _ => text(value, 0),
        }
    }
}

/// An axis fitted to its values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    measure: Measure,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    /// Of the labels, when the ticks are equal steps.
    decimals: Option<usize>,
}

impl Axis {
    /// Fits the admitted values with some air around them; `None` when there are none.
    pub(crate) fn fit(
        measure: Measure,
        values: impl IntoIterator<Item = f64>,
        most_ticks: usize,
    ) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| measure.admits(*value)) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            return None;
        }
        let ends_of_rows = (low - 0.7, high + 0.7);
        if measure.is_logarithmic() {
            // A series moves by percents: what would be nothing on an axis of prices fills its own.
            let least = if matches!(measure, Measure::Value { .. }) {
                1.04
            } else {
                1.6
            };
            let air = (high / low).max(least).powf(0.09);
            let narrow = (least / (high / low)).max(1.0).sqrt();
            (low, high) = (low / air / narrow, high * air * narrow);
        } else {
            let least = match measure {
                Measure::Objective(Objective::Quality) => 0.1,
                Measure::Time => HOUR,
                Measure::Change => 0.5,
                _ => high.abs().max(1e-6) * 0.04,
            };
            let grow = (least - (high - low)).max(0.0) / 2.0 + (high - low).max(least) * 0.1;
            (low, high) = (low - grow, high + grow);
        }
        match measure {
            Measure::Objective(Objective::Quality) => {
                (low, high) = (low.max(-0.02), high.min(1.02));
            }
            Measure::Ordinal => (low, high) = (low.min(0.5), high.max(1.5)),
            Measure::Watts | Measure::Seconds => low = low.max(0.0),
            Measure::Time => (low, high) = (low.max(0.0), high.min(LAST_SECOND)),
            // Half a row of air at both ends, whatever was added above.
            Measure::Rows => (low, high) = ends_of_rows,
            _ => {}
        }
        let (ticks, decimals) = match measure {
            Measure::Rows => (Vec::new(), None),
            Measure::Time => days(low, high, most_ticks),
            _ => ticks(measure, low, high, most_ticks),
        };
        Some(Self {
            measure,
            low,
            high,
            ticks,
            decimals,
        })
    }

    /// Its ends.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// The value has a place on this axis.
    pub(crate) fn holds(&self, value: f64) -> bool {
        self.measure.admits(value) && (self.low..=self.high).contains(&value)
    }

    /// The value's place between two drawn coordinates; `None` when it has none.
    pub(crate) fn place(&self, value: f64, from: i32, to: i32) -> Option<i32> {
        self.holds(value).then(|| self.map(&value, (from, to)))
    }

    /// The place of the nearest value that has one; for the ends of intervals.
    pub(crate) fn place_within(&self, value: f64, from: i32, to: i32) -> i32 {
        let value = if value.is_nan() {
            self.low
        } else {
            value.clamp(self.low, self.high)
        };
        self.map(&value, (from, to))
    }
}

fn ticks(measure: Measure, low: f64, high: f64, most: usize) -> (Vec<f64>, Option<usize>) {
    if measure.is_logarithmic() {
        let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let of = |factors: &[f64], every: i32| -> Vec<f64> {
            decades
                .clone()
                .filter(|decade| decade.rem_euclid(every) == 0)
                .flat_map(|decade| {
                    factors
                        .iter()
                        .map(move |factor| factor * 10_f64.powi(decade))
                })
                .filter(|tick| (low..=high).contains(tick))
                .collect()
        };
        // On a narrow drawing two labelled ticks tell the scale; a wide one has room for more.
        let fewest = if most < 6 { 2 } else { 3 };
        let candidates = [
            of(&[1.0, 2.0, 5.0], 1),
            of(&[1.0, 3.0], 1),
            of(&[1.0], 1),
            of(&[1.0], 2),
            of(&[1.0], 4),
        ];
        if let Some(fitting) = candidates
            .into_iter()
            .find(|ticks| ticks.len() <= most && ticks.len() >= fewest)
        {
            return (fitting, None);
        }
    }
    let raw = (high - low) / most.max(1) as f64;
    let magnitude = 10_f64.powf(raw.log10().floor());
    let mut step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= raw)
        .unwrap_or(10.0 * magnitude);
    if measure == Measure::Ordinal {
        step = step.max(1.0);
    }
    let within = match measure {
        Measure::Objective(Objective::Quality) => (0.0, 1.0 + 1e-9),
        Measure::Ordinal => (1.0, f64::INFINITY),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let first = (low / step).ceil() as i64;
    let ticks = (first..first + 12)
        .map(|i| i as f64 * step)
        .filter(|tick| *tick <= high && (within.0..=within.1).contains(tick))
        .collect();
    (ticks, Some((-step.log10() - 1e-9).ceil().max(0.0) as usize))
}

/// Ticks at calendar steps of UTC; the second part is `None` where every tick is a midnight.
fn days(low: f64, high: f64, most: usize) -> (Vec<f64>, Option<usize>) {
    let hours = [0.25, 1.0, 3.0, 6.0, 12.0].map(|hours| hours * HOUR);
    let days = [
        1.0, 2.0, 4.0, 7.0, 14.0, 21.0, 28.0, 56.0, 91.0, 182.0, 364.0,
    ]
    .map(|days| days * DAY);
    let raw = (high - low) / most.max(1) as f64;
    let step = hours
        .into_iter()
        .chain(days)
        .find(|step| *step >= raw)
        .unwrap_or((raw / (364.0 * DAY)).ceil() * 364.0 * DAY);
    let first = (low / step).ceil() as i64;
    let ticks = (first..first + 12)
        .map(|i| i as f64 * step)
        .filter(|tick| *tick <= high)
        .collect();
    (ticks, (step < DAY).then_some(0))
}

/// A tick of time as its label reads: the day, or with the hour where steps are shorter.
fn moment(seconds: f64, with_hour: bool) -> String {
    let format = if with_hour { "%m-%d %H:%M" } else { "%Y-%m-%d" };
    jiff::Timestamp::from_second(seconds as i64)
        .map_or_else(|_| String::new(), |time| time.strftime(format).to_string())
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = if self.measure.is_logarithmic() {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        from + (share.clamp(0.0, 1.0) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Asked a second time for lines between the labelled ones: there are none.
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.clone()
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.measure.label(*value, self.decimals)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(measure: Measure, values: &[f64]) -> Vec<String> {
        let axis = Axis::fit(measure, values.iter().copied(), 8).expect("has values");
        axis.ticks
            .iter()
            .map(|tick| axis.format_ext(tick))
            .collect()
    }

    #[test]
    fn ticks_are_one_two_five_and_read_well() {
        assert_eq!(
            labels(Measure::Objective(Objective::Price), &[249.0, 9_500.0]),
            ["$200", "$500", "$1,000", "$2,000", "$5,000", "$10,000"]
        );
        assert_eq!(
            labels(Measure::Objective(Objective::Quality), &[0.31, 0.84]),
            ["30 %", "40 %", "50 %", "60 %", "70 %", "80 %"]
        );
        assert_eq!(
            labels(Measure::Objective(Objective::Decode), &[2_100.0, 4_400.0]),
            ["2,000", "2,500", "3,000", "3,500", "4,000", "4,500"]
        );
        assert_eq!(
            labels(Measure::Objective(Objective::Joules), &[0.02, 0.03])
                .first()
                .map(String::as_str),
            Some("0.020")
        );
    }

    #[test]
    fn time_is_told_by_days_and_within_a_day_by_hours() {
        let at = 1_792_300_000.0;
        assert_eq!(
            labels(Measure::Time, &[at, at + 5.0 * DAY]),
            [
                "2026-10-18",
                "2026-10-19",
                "2026-10-20",
                "2026-10-21",
                "2026-10-22",
                "2026-10-23"
            ]
        );
        let hours = labels(Measure::Time, &[at, at + 6.0 * HOUR]);
        assert!(hours.iter().any(|hour| hour.ends_with(":00")), "{hours:?}");
        assert!(!labels(Measure::Time, &[at, at + 9_000.0 * DAY]).is_empty());
    }

    #[test]
    fn two_percent_are_seen_on_both_axes_of_a_series() {
        for logarithmic in [false, true] {
            let axis = Axis::fit(Measure::Value { logarithmic }, [100.0, 102.0], 7);
            let axis = axis.expect("has values");
            let apart = axis.map(&102.0, (0, 1_000)) - axis.map(&100.0, (0, 1_000));
            assert!(apart > 300, "{apart} of 1,000");
            assert!(axis.ticks.len() >= 2);
        }
    }

    #[test]
    fn zero_has_no_place_on_a_logarithmic_axis() {
        let axis = Axis::fit(
            Measure::Objective(Objective::Price),
            [0.0, 100.0, f64::NAN],
            8,
        )
        .expect("one value");
        assert_eq!(axis.place(0.0, 0, 1000), None);
        assert!(axis.place(100.0, 0, 1000).is_some());
        assert_eq!(
            Axis::fit(
                Measure::Objective(Objective::Price),
                [0.0, f64::INFINITY],
                8
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn every_admitted_value_has_a_place_and_nothing_else_has(
            values in proptest::collection::vec(any::<f64>(), 1..20),
            which in 0_usize..10,
        ) {
            let measure = [
                Measure::Objective(Objective::Price),
                Measure::Objective(Objective::Quality),
                Measure::Objective(Objective::Decode),
                Measure::Objective(Objective::Joules),
                Measure::Speed,
                Measure::Ordinal,
                Measure::Time,
                Measure::Change,
                Measure::Value { logarithmic: false },
                Measure::Value { logarithmic: true },
            ][which];
            let admitted = values.iter().filter(|value| measure.admits(**value)).count();
            match Axis::fit(measure, values.iter().copied(), 8) {
                None => prop_assert_eq!(admitted, 0),
                Some(axis) => {
                    prop_assert!(axis.ticks.len() <= 12);
                    for value in values {
                        let place = axis.place(value, 900, 100);
                        prop_assert_eq!(place.is_some(), measure.admits(value), "{}", value);
                        if let Some(place) = place {
                            prop_assert!((100..=900).contains(&place), "{} at {}", value, place);
                        }
                    }
                }
            }
        }
    }
}
