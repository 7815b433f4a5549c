//! Results of other tools beside a frontier: what they say, and what their setup costs.

use std::sync::Arc;

use domain::api::{ImportRow, ImportedBeside};
use domain::hardware::Catalogue;
use domain::ids::Slug;
use domain::query::FrontierQuery;

/// More rows are left to `/imports`.
const MAX_ROWS: usize = 200;

/// The rows that a reader with this question may want to see: not failed, with a decode speed of
/// one stream, of the asked setups, within the budget as far as a price is known. None where the
/// question bounds what no file says.
pub fn beside(
    rows: &[Arc<ImportRow>],
    query: &FrontierQuery,
    catalogue: &Catalogue,
) -> Vec<ImportedBeside> {
    if asks_what_no_file_says(query) {
        return Vec::new();
    }
    rows.iter()
        .filter(|import| {
            let asked = |setup: &String| query.setups.iter().any(|one| one.as_str() == setup);
            let speed = import.row.decode_tokens_per_second.unwrap_or(0.0);
            (query.setups.is_empty() || import.setup.as_ref().is_some_and(asked))
                && speed > 0.0
                && import.row.failed.is_none()
                && query.min_decode.is_none_or(|least| speed >= least)
        })
        .map(|import| priced(import, query, catalogue))
        .filter(|beside| beside.price_usd.is_none_or(|usd| usd <= query.budget_usd))
        .take(MAX_ROWS)
        .collect()
}

/// Whether the question bounds something that other tools' files do not tell in our terms.
fn asks_what_no_file_says(query: &FrontierQuery) -> bool {
    query.min_quality_percent.is_some()
        || query.max_joules.is_some()
        || !query.engines.is_empty()
        || !query.models.is_empty()
        || !query.vendors.is_empty()
}

/// Why no row stands beside.
pub fn why_none(rows: &[ImportedBeside], query: &FrontierQuery) -> Option<String> {
    let reason = if asks_what_no_file_says(query) {
        "engine, model, vendor, quality and joules of imported files are in their tools’ own terms, \
         so this question leaves all of them out"
    } else {
        "no imported file has a decode speed that fits this question"
    };
    rows.is_empty().then(|| reason.to_owned())
}

fn priced(import: &ImportRow, query: &FrontierQuery, catalogue: &Catalogue) -> ImportedBeside {
    let slug: Option<Slug> = import.setup.as_deref().and_then(|setup| setup.parse().ok());
    let own = slug.as_ref().and_then(|slug| query.prices.get(slug));
    let setup = slug.as_ref().and_then(|slug| catalogue.setup(slug));
    let listed = setup.and_then(|setup| setup.price());
    let (price_usd, price_date) = match (own, listed) {
        (Some(usd), _) => (Some(*usd), None),
        (None, Some(price)) => (Some(price.usd), Some(price.date.clone())),
        (None, None) => (None, None),
    };
    let price_reason = price_usd.is_none().then(|| match (&import.setup, setup) {
        (None, _) => "its importer named no setup".to_owned(),
        (Some(setup), None) => format!("{setup} is no known setup"),
        (Some(setup), Some(_)) => format!("no dated price of {setup} is known"),
    });
    ImportedBeside {
        import: import.clone(),
        price_usd,
        price_date,
        price_reason,
    }
}

#[cfg(test)]
mod tests {
    use domain::import::Row;

    use super::*;

    #[test]
    fn failed_slow_and_too_dear_rows_stay_away_and_what_has_no_price_says_why() {
        let hardware = "profile = \"hardware\"\nslug = \"chip\"\nname = \"Chip\"\nvendor = \"Maker\"\nkind = \"soc\"\nsources = [\"a\"]\nconfidence = \"high\"\n";
        let setup = "profile = \"setup\"\nslug = \"mini\"\nname = \"Mini\"\n[[parts]]\nhardware = \"chip\"\ncount = 1\n[[prices]]\nusd = 900\ndate = \"2026-11-01\"\nkind = \"list\"\nsource = \"https://example.org\"\n";
        let catalogue = Catalogue::parse([("h.toml", hardware), ("s.toml", setup)]).expect("valid");
        let row = |setup: Option<&str>, speed: f64, failed: bool| {
            Arc::new(ImportRow {
                setup: setup.map(str::to_owned),
                row: Row {
                    decode_tokens_per_second: Some(speed),
                    failed: failed.then(|| "all zeros".to_owned()),
                    ..Row::default()
                },
                ..ImportRow::default()
            })
        };
        let rows = [
            row(Some("mini"), 60.0, false),
            row(None, 50.0, false),
            row(Some("mini"), 70.0, true),
            row(Some("mini"), 5.0, false),
        ];
        let of = |query: &str| {
            beside(
                &rows,
                &FrontierQuery::parse(query).expect("valid"),
                &catalogue,
            )
        };
        let shown = of("min-decode=10");
        let speeds: Vec<_> = shown
            .iter()
            .filter_map(|one| one.import.row.decode_tokens_per_second)
            .collect();
        assert_eq!(speeds, [60.0, 50.0]);
        assert_eq!(shown[0].price_usd, Some(900.0));
        assert_eq!(
            shown[1].price_reason.as_deref(),
            Some("its importer named no setup")
        );
        assert_eq!(of("budget=500&min-decode=10").len(), 1);
        assert_eq!(of("setup=mini").len(), 2, "of this setup");
        assert_eq!(of("min-quality=50").len(), 0, "no file says our quality");
        assert_eq!(of("budget=500&min-decode=10&price.mini=450").len(), 2);
    }
}
