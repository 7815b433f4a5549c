//! A result as one row of a table: the same on the frontier, a model's, and a setup's page.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::{Figure, Membership, ResultRow};

use crate::format::{self, Cell, Quantity};
use crate::names;

/// A share of 0 to 1 with its interval, drawn on a fixed scale beside the number.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/bar.html")]
pub(crate) struct Bar {
    low: i32,
    high: i32,
    at: i32,
}

impl HtmlSafe for Bar {}

impl Bar {
    const WIDTH: f64 = 120.0;

    /// `None` unless the value is a share.
    pub(crate) fn of(value: Option<f64>, ci95: Option<(f64, f64)>) -> Option<Self> {
        let value = value.filter(|value| (0.0..=1.0).contains(value))?;
        let (low, high) = ci95.unwrap_or((value, value));
        let place = |share: f64| 4 + (share.clamp(0.0, 1.0) * Self::WIDTH).round() as i32;
        Some(Self {
            low: place(low),
            high: place(high),
            at: place(value),
        })
    }
}

/// A share of what is possible: filled as far as was measured, with a line at the ceiling.
/// What lies beyond the ceiling is drawn beyond it, and past the edge as an arrow.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "components/share.html")]
pub(crate) struct Share {
    filled: i32,
    range: Option<(i32, i32)>,
    past_the_edge: bool,
}

impl HtmlSafe for Share {}

impl Share {
    /// From 0 to the ceiling, in drawn units; the drawing begins at 4 and is 148 wide.
    const WIDTH: f64 = 120.0;
    /// The edge, as a share of the ceiling.
    const EDGE: f64 = 1.15;

    /// `None` unless the figure is a share.
    pub(crate) fn of(figure: Option<Figure>) -> Option<Self> {
        let figure = figure.filter(|figure| figure.value.is_finite() && figure.value >= 0.0)?;
        let place = |share: f64| 4 + (share.clamp(0.0, Self::EDGE) * Self::WIDTH).round() as i32;
        Some(Self {
            filled: place(figure.value),
            range: figure.ci95.map(|(low, high)| (place(low), place(high))),
            past_the_edge: figure.value > Self::EDGE,
        })
    }
}

/// A result for a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowView {
    /// Names the result.
    pub(crate) id: String,
    /// Its page.
    pub(crate) href: String,
    /// Model.
    pub(crate) model: String,
    /// Quantisation and pruning.
    pub(crate) variant: String,
    /// Setup's name.
    pub(crate) setup: String,
    /// Setup's page.
    pub(crate) setup_href: Option<String>,
    /// Engine and version.
    pub(crate) engine: String,
    /// What tells its engine from the others of the list; `None` where all rows share one.
    pub(crate) engine_label: Option<String>,
    /// The engine build's page.
    pub(crate) engine_href: Option<String>,
    /// Workload, and what sets it apart.
    pub(crate) workload: String,
    /// Trust.
    pub(crate) tier: String,
    /// Spoilers such as `noisy`.
    pub(crate) flags: Vec<names::Flag>,
    /// Suite mean.
    pub(crate) quality: Cell,
    /// The same as a picture.
    pub(crate) bar: Option<Bar>,
    /// Client view.
    pub(crate) decode: Cell,
    /// The engine's own clock, where the client has none.
    pub(crate) engine_decode: Option<Cell>,
    /// Measured decode as a share of what the memory allows.
    pub(crate) theory: Cell,
    /// The same as a picture.
    pub(crate) share: Option<Share>,
    /// What the memory allows.
    pub(crate) ceiling: Cell,
    /// Per correct answer.
    pub(crate) joules: Cell,
    /// What the joules cover, where there are any.
    pub(crate) scope: String,
    /// Peak resident memory.
    pub(crate) memory: Cell,
    /// Length of the weights.
    pub(crate) size: String,
    /// Length in bits over parameters.
    pub(crate) bits: String,
    /// Dollars, date, kind.
    pub(crate) price: Option<String>,
    /// The fine print of the price, or why there is none.
    pub(crate) price_note: String,
    /// On, tied, dominated; empty outside a frontier.
    pub(crate) standing: Option<Membership>,
    /// How often it is dominated in the draws, or how often not, read after its standing.
    pub(crate) draws: Option<String>,
    /// Such as `dominated by …`.
    pub(crate) remark: Option<Remark>,
}

/// A remark about a row's standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    /// Before the link.
    pub(crate) text: String,
    /// Another result.
    pub(crate) link: Option<(String, String)>,
    /// After the link.
    pub(crate) more: String,
}

impl RowView {
    /// Formats a row.
    pub(crate) fn new(row: &ResultRow) -> Self {
        let quality = row.quality();
        let (price, price_note) = price(row);
        Self {
            id: row.id.clone(),
            href: names::result_path(&row.id),
            model: row.model.clone(),
            variant: names::variant(row),
            setup: row.setup_name.clone(),
            setup_href: names::setup_path(&row.setup),
            engine: names::engine(row),
            engine_label: None,
            engine_href: names::build_path(&row.engine_slug, &row.engine_build_id),
            workload: names::workload(row),
            tier: row
                .tier
                .map(|tier| tier.as_str().to_owned())
                .unwrap_or_default(),
            flags: names::flags(row),
            quality: format::quality(row).bare(),
            bar: Bar::of(row.quality, quality.and_then(|figure| figure.ci95)),
            decode: format::decode(row).bare(),
            engine_decode: row
                .engine_decode()
                .filter(|_| row.decode_tokens_per_second.is_none())
                .map(|figure| Cell::new(Quantity::Speed, Some(figure), None)),
            theory: format::of_theory(row).bare(),
            share: Share::of(row.decode_of_theory()),
            ceiling: Cell::alone(
                Quantity::Speed,
                row.decode_ceiling_tokens_per_second,
                row.roofline_reason.as_deref(),
            )
            .bare(),
            joules: format::joules(row).bare(),
            scope: row
                .joules_per_correct_answer
                .and(row.energy_scope.clone())
                .unwrap_or_default(),
            memory: Cell::new(Quantity::Bytes, row.peak_memory(), None),
            size: format::bytes(row.variant_bytes),
            bits: format::rough(row.bits_per_weight),
            price,
            price_note,
            standing: row.membership,
            draws: row.p_on_frontier.map(|p| draws(row.membership, p)),
            remark: None,
        }
    }

    /// The same among rows of these engines.
    pub(crate) fn among(row: &ResultRow, engines: &names::Engines) -> Self {
        Self {
            engine_label: engines.label(row).map(str::to_owned),
            ..Self::new(row)
        }
    }

    /// The standing in a word.
    pub(crate) fn standing_word(&self) -> &'static str {
        match self.standing {
            Some(Membership::On) => "on",
            Some(Membership::Tied) => "tied",
            Some(Membership::Dominated) => "dominated",
            None => "",
        }
    }
}

/// `p` is the share of the draws in which nothing dominates the row.
fn draws(standing: Option<Membership>, p: f64) -> String {
    let percent = |share: f64| format::trimmed(share * 100.0, 1);
    match standing {
        Some(Membership::Dominated) => format!("in {} % of draws", percent(1.0 - p)),
        _ => format!("not dominated in {} % of draws", percent(p)),
    }
}

/// A row's price and its fine print, or nothing and the reason.
pub(crate) fn price(row: &ResultRow) -> (Option<String>, String) {
    let Some(usd) = row.price_usd else {
        let reason = row.price_reason.as_deref().unwrap_or_default();
        return (None, format::reason_only(reason).to_owned());
    };
    let kind = row
        .price_kind
        .map(domain::hardware::PriceKind::in_words)
        .unwrap_or_default();
    let date = row.price_date.as_deref().unwrap_or_default();
    (
        Some(format::usd(usd)),
        format!("{kind} {date}").trim().to_owned(),
    )
}

/// What most rows lack, said once instead of in every row: `None` when some row has it.
pub(crate) fn missing_everywhere<'a>(
    what: &str,
    values: impl Iterator<Item = (bool, Option<&'a str>)>,
) -> Option<String> {
    let mut reasons: Vec<&str> = Vec::new();
    for (present, reason) in values {
        if present {
            return None;
        }
        let reason = reason.map(format::reason_only);
        if let Some(reason) =
            reason.filter(|reason| !reasons.contains(reason) && !reason.is_empty())
        {
            reasons.push(reason);
        }
    }
    reasons.truncate(3);
    let why = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join("; "))
    };
    Some(format!(
        "{what}: not recorded for any of these results{why}."
    ))
}

/// Some row has a share of theory: the table then has a column for it.
pub(crate) fn have_theory(rows: &[RowView]) -> bool {
    rows.iter().any(|row| row.theory.value.is_some())
}

/// The note for a list in which no row has a share of theory.
pub(crate) fn missing_theory(rows: &[ResultRow]) -> Option<String> {
    missing_everywhere(
        "Share of theory",
        rows.iter().map(|row| {
            (
                row.decode_of_theory.is_some(),
                row.roofline_reason.as_deref(),
            )
        }),
    )
    .filter(|_| !rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_drawn_for_shares_only() {
        assert_eq!(
            Bar::of(Some(0.5), Some((0.4, 0.6))),
            Some(Bar {
                low: 52,
                high: 76,
                at: 64
            })
        );
        assert_eq!(Bar::of(Some(f64::NAN), None), None);
        assert_eq!(Bar::of(None, None), None);
    }

    #[test]
    fn what_is_above_the_ceiling_is_drawn_above_it() {
        let share = |value, ci95| Share::of(Some(Figure { value, ci95, n: 6 }));
        let half = share(0.5, Some((0.45, 0.55))).expect("a share");
        assert_eq!((half.filled, half.range), (64, Some((58, 70))));
        let above = share(1.08, None).expect("a share");
        assert!(above.filled > 124 && !above.past_the_edge);
        assert!(share(7.0, None).expect("a share").past_the_edge);
        assert_eq!(share(f64::NAN, None), None);
        assert_eq!(Share::of(None), None);
    }

    #[test]
    fn the_share_of_draws_says_of_what_it_is_the_share() {
        assert_eq!(
            draws(Some(Membership::Tied), 0.41),
            "not dominated in 41 % of draws"
        );
        assert_eq!(
            draws(Some(Membership::Dominated), 0.004),
            "in 99.6 % of draws",
            "after the word \"dominated\""
        );
    }

    #[test]
    fn what_every_row_lacks_is_said_once() {
        let lacking = [(false, Some("no meter")), (false, Some("no meter"))];
        assert_eq!(
            missing_everywhere("Joules", lacking.into_iter()).as_deref(),
            Some("Joules: not recorded for any of these results (no meter).")
        );
        assert_eq!(
            missing_everywhere("Joules", [(false, None), (true, None)].into_iter()),
            None
        );
    }
}
