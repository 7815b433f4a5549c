//! Numbers as readers read them: one module, so that a number looks the same everywhere.
//!
//! Digits follow the interval: its half-width is shown to two significant digits, the value
//! to the same place. Without an interval three significant digits are shown.

use std::time::Duration;

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::{Figure, ResultRow};

/// What a figure measures: decides unit and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// A share, shown in percent.
    Quality,
    /// A share of what is possible, shown in percent; it may exceed 100.
    OfTheory,
    /// Tokens per second.
    Speed,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes, shown in MB or GB.
    Bytes,
    /// Nats.
    Nats,
    /// Joules.
    Joules,
    /// Watts.
    Watts,
    /// Right answers per joule.
    PerJoule,
    /// Share of right answers per watt.
    PerWatt,
}

impl Quantity {
    /// What a column of the results measures; `None` for one that this program does not know.
    pub(crate) fn of_metric(metric: &str) -> Option<Self> {
        match metric {
            "decode_tokens_per_second"
            | "prefill_tokens_per_second"
            | "engine_decode_tokens_per_second"
            | "engine_prefill_tokens_per_second" => Some(Self::Speed),
            "ttft_ms" => Some(Self::Milliseconds),
            "joules_per_output_token" => Some(Self::Joules),
            "peak_bytes" => Some(Self::Bytes),
            _ => None,
        }
    }

    /// Factor from the API's unit to the shown one, and that unit.
    pub(crate) fn unit(self, value: f64) -> (f64, &'static str) {
        match self {
            Self::Quality | Self::OfTheory => (100.0, "%"),
            Self::Speed => (1.0, "tok/s"),
            Self::Seconds => (1.0, "s"),
            Self::Milliseconds => (1.0, "ms"),
            Self::Bytes if value >= 1e9 => (1e-9, "GB"),
            Self::Bytes => (1e-6, "MB"),
            Self::Joules if value.abs() < 0.1 => (1e3, "mJ"),
            Self::Joules => (1.0, "J"),
            Self::Nats => (1.0, "nats"),
            Self::Watts => (1.0, "W"),
            Self::PerJoule => (1.0, "right per J"),
            Self::PerWatt => (1.0, "per W"),
        }
    }
}

/// A figure ready for a page: value, interval and n, or "not recorded" and the reason.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/figure.html")]
pub(crate) struct Cell {
    /// Missing when not measured.
    pub(crate) value: Option<String>,
    /// Such as `tok/s`.
    pub(crate) unit: &'static str,
    /// Such as `68.2–74.5`.
    pub(crate) interval: Option<String>,
    /// Observations; `None` for what is not a median of several.
    pub(crate) n: Option<u32>,
    /// Why the value is missing; may be empty.
    pub(crate) reason: String,
    /// Tables have the unit in their head.
    pub(crate) with_unit: bool,
}

impl HtmlSafe for Cell {}

impl Cell {
    /// A figure with its unit.
    pub(crate) fn new(quantity: Quantity, figure: Option<Figure>, reason: Option<&str>) -> Self {
        let Some(figure) = figure.filter(|figure| figure.value.is_finite()) else {
            return Self::missing(reason.unwrap_or_default());
        };
        let (factor, unit) = quantity.unit(figure.value);
        let ci95 = figure.ci95.map(|(low, high)| (low * factor, high * factor));
        let value = figure.value * factor;
        let mut decimals = decimals(value, ci95);
        if matches!(quantity, Quantity::Quality | Quantity::OfTheory) {
            decimals = decimals.min(1);
        }
        Self {
            value: Some(number(value, decimals)),
            unit,
            interval: ci95
                .map(|(low, high)| format!("{}–{}", number(low, decimals), number(high, decimals))),
            n: Some(figure.n),
            reason: String::new(),
            with_unit: true,
        }
    }

    /// A number that has neither interval nor n, such as a bound.
    pub(crate) fn alone(quantity: Quantity, value: Option<f64>, reason: Option<&str>) -> Self {
        let figure = value.map(|value| Figure {
            value,
            ci95: None,
            n: 0,
        });
        Self {
            n: None,
            ..Self::new(quantity, figure, reason)
        }
    }

    /// Words in place of a number.
    pub(crate) fn words(value: String) -> Self {
        Self {
            value: Some(value),
            ..Self::missing("")
        }
    }

    /// Not recorded, with the reason.
    pub(crate) fn missing(reason: &str) -> Self {
        Self {
            value: None,
            unit: "",
            interval: None,
            n: None,
            reason: reason_only(reason).to_owned(),
            with_unit: true,
        }
    }

    /// The same without its unit, for a column whose head names it.
    pub(crate) fn bare(mut self) -> Self {
        self.with_unit = false;
        self
    }

    /// One line of text: `71.4 % (68.2–74.5, n = 210)`.
    pub(crate) fn in_words(&self) -> String {
        let Some(value) = &self.value else {
            return if self.reason.is_empty() {
                "not recorded".to_owned()
            } else {
                format!("not recorded: {}", self.reason)
            };
        };
        let unit = if self.unit.is_empty() { "" } else { " " };
        let print = self.fine_print();
        if print.is_empty() {
            return format!("{value}{unit}{}", self.unit);
        }
        format!("{value}{unit}{} ({print})", self.unit)
    }

    /// Interval and n, as far as there are any.
    pub(crate) fn fine_print(&self) -> String {
        let n = self.n.map(|n| format!("n = {}", number(f64::from(n), 0)));
        let parts: Vec<String> = self.interval.clone().into_iter().chain(n).collect();
        parts.join(", ")
    }
}

/// A reason without the words that stand before it on every page.
pub(crate) fn reason_only(reason: &str) -> &str {
    reason.strip_prefix("not recorded: ").unwrap_or(reason)
}

fn decimals(value: f64, ci95: Option<(f64, f64)>) -> usize {
    let (basis, digits) = match ci95.map(|(low, high)| (high - low) / 2.0) {
        Some(half) if half > 0.0 => (half, 2.0),
        _ if value != 0.0 => (value.abs(), 3.0),
        _ => return 0,
    };
    (digits - 1.0 - basis.log10().floor()).clamp(0.0, 6.0) as usize
}

/// Fixed decimals, thousands apart: `12,345.6`.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    // No reader counts so many digits, and no table has room for them.
    if value.abs() >= 1e15 {
        return format!("{value:.1e}");
    }
    let plain = format!("{value:.decimals$}");
    let (sign, digits) = plain
        .strip_prefix('-')
        .map_or(("", plain.as_str()), |rest| ("−", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if plain.contains(|c: char| ('1'..='9').contains(&c)) {
        sign
    } else {
        ""
    };
    if fraction.is_empty() {
        format!("{sign}{grouped}")
    } else {
        format!("{sign}{grouped}.{fraction}")
    }
}

/// At most so many decimals, without trailing zeros.
pub(crate) fn trimmed(value: f64, decimals: usize) -> String {
    let text = number(value, decimals);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Three significant digits, without trailing zeros.
pub(crate) fn rough(value: f64) -> String {
    trimmed(value, decimals(value, None))
}

/// A share as a change in percent, with its sign: `+2.4 %`.
pub(crate) fn change(share: f64) -> String {
    format!("{}\u{a0}%", signed(100.0 * share, 1))
}

/// Two such, as the ends of an interval; one that nothing bounds is not named.
pub(crate) fn changes(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => {
            let low = signed(100.0 * low, 1);
            format!("{low} to {}", change(high))
        }
        (Some(low), None) => format!("{} or more", change(low)),
        (None, Some(high)) => format!("{} or less", change(high)),
        (None, None) => "unbounded".to_owned(),
    }
}

/// A share without a sign: `1.1 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{}\u{a0}%", trimmed(100.0 * share, 2))
}

fn signed(value: f64, decimals: usize) -> String {
    let text = number(value, decimals);
    if value > 0.0 && text.contains(|c: char| ('1'..='9').contains(&c)) {
        format!("+{text}")
    } else {
        text
    }
}

/// `40 s`, `7 min 40 s`, `2 h 5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.clamp(0.0, 1e12).round() as u64;
    match whole {
        0..60 => format!("{whole}\u{a0}s"),
        60..3_600 => format!("{}\u{a0}min {}\u{a0}s", whole / 60, whole % 60),
        _ => format!(
            "{}\u{a0}h {}\u{a0}min",
            number((whole / 3_600) as f64, 0),
            whole % 3_600 / 60
        ),
    }
}

/// US dollars: cents only below a hundred.
pub(crate) fn usd(value: f64) -> String {
    let cents = value.abs() < 100.0 && (value - value.round()).abs() > 0.004;
    format!("${}", number(value, if cents { 2 } else { 0 }))
}

/// `3.52 M` parameters.
pub(crate) fn count(value: u64) -> String {
    let value = value as f64;
    match value {
        v if v >= 1e9 => format!("{} B", rough(v / 1e9)),
        v if v >= 1e6 => format!("{} M", rough(v / 1e6)),
        v if v >= 1e4 => format!("{} k", rough(v / 1e3)),
        v => number(v, 0),
    }
}

/// Decimal bytes.
pub(crate) fn bytes(value: u64) -> String {
    let value = value as f64;
    match value {
        v if v >= 1e9 => format!("{} GB", rough(v / 1e9)),
        v if v >= 1e6 => format!("{} MB", rough(v / 1e6)),
        v => format!("{} kB", rough(v / 1e3)),
    }
}

/// An RFC 3339 UTC time to the minute; anything else as it stands.
pub(crate) fn time(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(10..11), rfc3339.get(11..16)) {
        (Some(day), Some("T"), Some(minute)) if rfc3339.ends_with('Z') => {
            format!("{day} {minute} UTC")
        }
        _ => rfc3339.to_owned(),
    }
}

/// An age in the largest whole unit.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if n == 1 {
        format!("1 {unit}")
    } else {
        format!("{n} {unit}s")
    }
}

/// `1 result`, `12 results`.
pub(crate) fn plural(n: usize, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{} {one}s", number(n as f64, 0))
    }
}

/// Quality as the pages show it.
pub(crate) fn quality(row: &ResultRow) -> Cell {
    Cell::new(
        Quantity::Quality,
        row.quality(),
        row.quality_reason.as_deref(),
    )
}

/// Decode speed as the pages show it.
pub(crate) fn decode(row: &ResultRow) -> Cell {
    Cell::new(Quantity::Speed, row.decode(), row.decode_reason.as_deref())
}

/// Share of theory as the pages show it.
pub(crate) fn of_theory(row: &ResultRow) -> Cell {
    Cell::new(
        Quantity::OfTheory,
        row.decode_of_theory(),
        row.roofline_reason
            .as_deref()
            .or(row.decode_reason.as_deref()),
    )
}

/// Joules per correct answer as the pages show them.
pub(crate) fn joules(row: &ResultRow) -> Cell {
    Cell::new(
        Quantity::Joules,
        row.joules_per_correct(),
        row.energy_reason.as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, ci95: Option<(f64, f64)>, n: u32) -> Figure {
        Figure { value, ci95, n }
    }

    #[test]
    fn digits_follow_the_interval() {
        let quality = Cell::new(
            Quantity::Quality,
            Some(figure(0.714_3, Some((0.682, 0.745)), 210)),
            None,
        );
        assert_eq!(quality.in_words(), "71.4 % (68.2–74.5, n = 210)");
        let speed = Cell::new(
            Quantity::Speed,
            Some(figure(2_134.62, Some((2_101.3, 2_170.9)), 6)),
            None,
        );
        assert_eq!(speed.in_words(), "2,135 tok/s (2,101–2,171, n = 6)");
        let ttft = Cell::new(Quantity::Milliseconds, Some(figure(3.4567, None, 3)), None);
        assert_eq!(ttft.in_words(), "3.46 ms (n = 3)");
        let memory = Cell::new(Quantity::Bytes, Some(figure(73_400_320.0, None, 6)), None);
        assert_eq!(memory.in_words(), "73.4 MB (n = 6)");
    }

    #[test]
    fn missing_is_said_with_its_reason_and_never_zero() {
        let missing = Cell::new(
            Quantity::Joules,
            None,
            Some("this machine has no power counter"),
        );
        assert_eq!(
            missing.in_words(),
            "not recorded: this machine has no power counter"
        );
        let nan = Cell::new(Quantity::Joules, Some(figure(f64::NAN, None, 1)), None);
        assert_eq!(nan.in_words(), "not recorded");
    }

    #[test]
    fn a_bound_has_neither_interval_nor_n() {
        let ceiling = Cell::alone(Quantity::Speed, Some(62.3), None);
        assert_eq!(ceiling.in_words(), "62.3 tok/s");
        let none = Cell::alone(Quantity::Speed, None, Some("no bandwidth is known"));
        assert_eq!(none.in_words(), "not recorded: no bandwidth is known");
    }

    #[test]
    fn thousands_signs_and_units_read_well() {
        assert_eq!(number(1_234_567.891, 1), "1,234,567.9");
        assert_eq!(number(-1_234.0, 0), "−1,234");
        assert_eq!(number(-0.2, 0), "0");
        assert_eq!(number(1e302, 1), "1.0e302");
        assert_eq!(usd(1_850.0), "$1,850");
        assert_eq!(usd(12.5), "$12.50");
        assert_eq!(count(3_519_744), "3.52 M");
        assert_eq!(bytes(1_999), "2 kB");
        assert_eq!(time("2026-11-18T14:02:33.123Z"), "2026-11-18 14:02 UTC");
        assert_eq!(time("soon"), "soon");
        assert_eq!(age(Duration::from_secs(125)), "2 minutes");
        assert_eq!(plural(1, "result"), "1 result");
        assert_eq!(duration(40.2), "40\u{a0}s");
        assert_eq!(duration(460.0), "7\u{a0}min 40\u{a0}s");
        assert_eq!(duration(7_500.0), "2\u{a0}h 5\u{a0}min");
    }

    #[test]
    fn a_change_has_its_sign_and_an_open_end_its_word() {
        assert_eq!(change(0.0241), "+2.4\u{a0}%");
        assert_eq!(change(-0.0241), "−2.4\u{a0}%");
        assert_eq!(change(0.0001), "0.0\u{a0}%");
        assert_eq!(changes(Some(0.016), None), "+1.6\u{a0}% or more");
        assert_eq!(changes(Some(-0.016), Some(0.02)), "−1.6 to +2.0\u{a0}%");
        assert_eq!(percent(0.0111), "1.11\u{a0}%");
    }
}
