//! A result as one row of a table: the same on the frontier, a model's, and a setup's page.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::{Membership, ResultRow};

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

/// A result for a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RowView {
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
    /// Workload.
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
    /// Per correct answer.
    pub(crate) joules: Cell,
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
            href: names::result_path(&row.id),
            model: row.model.clone(),
            variant: names::variant(row),
            setup: row.setup_name.clone(),
            setup_href: names::setup_path(&row.setup),
            engine: format!("{} {}", row.engine, row.engine_version),
            workload: row.workload.clone(),
            tier: row
                .tier
                .map(|tier| tier.as_str().to_owned())
                .unwrap_or_default(),
            flags: names::flags(row),
            quality: format::quality(row).bare(),
            bar: Bar::of(row.quality, quality.and_then(|figure| figure.ci95)),
            decode: format::decode(row).bare(),
            joules: format::joules(row).bare(),
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
