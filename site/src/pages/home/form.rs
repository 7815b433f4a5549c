//! The question as a plain GET form, with what was typed kept and messages at their fields.

use std::collections::BTreeSet;

use domain::api::{Facet, FrontierAnswer, ResultRow};
use domain::query::{FieldError, FrontierQuery};
use domain::tier::Tier;
use url::form_urlencoded;

/// More choices of a facet are left to the address bar.
const MAX_CHOICES: usize = 24;
/// More unpriced setups get no field of their own.
const MAX_PRICES: usize = 12;

/// Which axes the form offers, as the query spells them.
const AXES: [(&str, &str); 7] = [
    ("price-quality", "price and quality"),
    ("quality-decode", "quality and decode speed"),
    ("price-decode", "price and decode speed"),
    ("joules-quality", "joules and quality"),
    ("price-quality-decode", "price, quality and decode speed"),
    ("price-quality-joules", "price, quality and joules"),
    ("quality-decode-joules", "quality, decode speed and joules"),
];

/// A text field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) unit: &'static str,
    pub(super) value: String,
    pub(super) error: Option<String>,
}

/// One of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) default: &'static str,
    pub(super) options: Vec<Opt>,
    pub(super) error: Option<String>,
}

/// Any of several.
pub(super) type Facets = Choice;

/// An option of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opt {
    pub(super) value: String,
    pub(super) name: String,
    pub(super) chosen: bool,
}

/// The whole form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) budget: Field,
    pub(super) min_decode: Field,
    pub(super) more: Vec<Field>,
    pub(super) choices: Vec<Choice>,
    pub(super) facets: Vec<Facets>,
    pub(super) prices: Vec<Field>,
    /// Kept, though the form has no field for them.
    pub(super) hidden: Vec<(String, String)>,
    /// Errors at keys that the form does not have.
    pub(super) other_errors: Vec<String>,
    /// The details hold something that the reader chose, or a message.
    pub(super) open: bool,
}

impl Form {
    /// `typed` is the query as it stands in the address bar.
    pub(super) fn new(
        answer: &FrontierAnswer,
        query: &FrontierQuery,
        typed: &str,
        errors: &[FieldError],
    ) -> Self {
        let typed = Typed {
            pairs: form_urlencoded::parse(typed.as_bytes())
                .into_owned()
                .collect(),
            errors,
        };
        let budget = typed.field("budget", "Budget", "US dollars");
        let budget = if budget.value.is_empty() {
            Field {
                value: plain(query.budget_usd),
                ..budget
            }
        } else {
            budget
        };
        let more = vec![
            typed.field("min-quality", "Quality, at least", "%"),
            typed.field("max-joules", "J per correct answer, at most", "J"),
        ];
        let choices = typed.choices(answer);
        let facets: Vec<Facets> = [
            ("model", "Model", &answer.facets.models),
            ("engine", "Engine", &answer.facets.engines),
            ("setup", "Setup", &answer.facets.setups),
        ]
        .into_iter()
        .map(|(name, label, facet)| typed.choice(name, label, "", counted(facet)))
        .filter(|facet| {
            facet.options.len() > 1
                || facet.options.iter().any(|o| o.chosen)
                || facet.error.is_some()
        })
        .collect();
        let prices = typed.prices(answer, query);
        let shown: BTreeSet<&str> = more
            .iter()
            .chain(&prices)
            .map(|field| field.name.as_str())
            .chain(choices.iter().chain(&facets).map(|choice| choice.name))
            .chain([budget.name.as_str(), "min-decode"])
            .collect();
        let hidden = typed
            .pairs
            .iter()
            .filter(|(key, value)| {
                !shown.contains(key.as_str()) && !value.trim().is_empty() && !typed.is_bad(key)
            })
            .cloned()
            .collect();
        let other_errors = errors
            .iter()
            .filter(|e| !shown.contains(e.field.as_str()))
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect();
        let open =
            more.iter()
                .chain(&prices)
                .any(|field| !field.value.is_empty() || field.error.is_some())
                || choices.iter().chain(&facets).any(|choice| {
                    choice.error.is_some() || choice.options.iter().any(|o| o.chosen)
                });
        Self {
            min_decode: typed.field("min-decode", "Decode speed, at least", "tok/s"),
            budget,
            more,
            choices,
            facets,
            prices,
            hidden,
            other_errors,
            open,
        }
    }
}

struct Typed<'a> {
    pairs: Vec<(String, String)>,
    errors: &'a [FieldError],
}

impl Typed<'_> {
    fn value(&self, key: &str) -> String {
        self.pairs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    }

    fn error(&self, key: &str) -> Option<String> {
        self.errors
            .iter()
            .find(|error| error.field == key)
            .map(|error| error.message.clone())
    }

    fn is_bad(&self, key: &str) -> bool {
        self.errors.iter().any(|error| error.field == key)
    }

    fn field(&self, name: &str, label: &str, unit: &'static str) -> Field {
        Field {
            name: name.to_owned(),
            label: label.to_owned(),
            unit,
            value: self.value(name),
            error: self.error(name),
        }
    }

    fn choices(&self, answer: &FrontierAnswer) -> Vec<Choice> {
        vec![
            self.choice(
                "axes",
                "Weigh",
                "what the data allows",
                AXES.map(|(value, name)| (value.to_owned(), name.to_owned())),
            ),
            self.choice(
                "tier",
                "Trust",
                "the usual floor",
                Tier::ALL
                    .into_iter()
                    .filter(|tier| *tier >= Tier::SelfReported)
                    .map(|tier| {
                        (
                            tier.as_str().to_owned(),
                            format!("{} or better", tier.as_str()),
                        )
                    }),
            ),
            self.choice(
                "workload",
                "Workload",
                "the most measured",
                answer.facets.workloads.iter().map(|facet| {
                    let words = workload(answer, &facet.value);
                    (facet.value.clone(), format!("{words} ({})", facet.count))
                }),
            ),
            self.choice(
                "suite",
                "Suite",
                "the most asked",
                counted(&answer.facets.suites),
            ),
            self.choice(
                "scope",
                "Joules of",
                "the most measured scope",
                counted(&answer.facets.scopes),
            ),
            self.choice(
                "across-scopes",
                "Joules of other scopes",
                "kept apart",
                [("1".to_owned(), "side by side, not comparable".to_owned())],
            ),
            self.choice(
                "imported",
                "Results of other tools",
                "left out",
                [("1".to_owned(), "beside, with no standing".to_owned())],
            ),
        ]
    }

    fn choice(
        &self,
        name: &'static str,
        label: &'static str,
        default: &'static str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Choice {
        let given: Vec<&String> = self
            .pairs
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value)
            .collect();
        let mut options: Vec<Opt> = options
            .into_iter()
            .map(|(value, name)| Opt {
                chosen: given.contains(&&value),
                value,
                name,
            })
            .collect();
        options.sort_by_key(|option| !option.chosen);
        options.truncate(MAX_CHOICES);
        // What was typed is kept, also when the data does not offer it.
        for value in given.into_iter().filter(|value| !value.is_empty()) {
            if !options.iter().any(|option| option.value == *value) {
                options.insert(
                    0,
                    Opt {
                        value: value.clone(),
                        name: value.clone(),
                        chosen: true,
                    },
                );
            }
        }
        Choice {
            name,
            label,
            default,
            options,
            error: self.error(name),
        }
    }

    /// A field for each setup without a price, and for each that the reader priced.
    fn prices(&self, answer: &FrontierAnswer, query: &FrontierQuery) -> Vec<Field> {
        let rows: Vec<&ResultRow> = answer
            .rows
            .iter()
            .chain(answer.left_out.iter().map(|one| &one.row))
            .collect();
        let mut setups: Vec<(String, String)> = Vec::new();
        for setup in query.prices.keys().map(domain::ids::Slug::as_str) {
            let name = rows
                .iter()
                .find(|row| row.setup == setup)
                .map_or(setup, |row| row.setup_name.as_str());
            setups.push((setup.to_owned(), name.to_owned()));
        }
        for row in rows
            .iter()
            .filter(|row| row.price_usd.is_none() && !row.setup.is_empty())
        {
            if !setups.iter().any(|(setup, _)| *setup == row.setup) {
                setups.push((row.setup.clone(), row.setup_name.clone()));
            }
        }
        setups.truncate(MAX_PRICES);
        setups
            .into_iter()
            .map(|(setup, name)| {
                self.field(
                    &format!("price.{setup}"),
                    &format!("Your price for {name}"),
                    "US dollars",
                )
            })
            .collect()
    }
}

/// A workload's name with what sets it apart, where all its results agree on that.
pub(super) fn workload(answer: &FrontierAnswer, name: &str) -> String {
    let beside = answer.left_out.iter().map(|one| &one.row);
    let words: BTreeSet<String> = answer
        .rows
        .iter()
        .chain(beside)
        .filter(|row| row.workload == name)
        .map(crate::names::workload)
        .collect();
    match words.first() {
        Some(only) if words.len() == 1 => only.clone(),
        _ => name.to_owned(),
    }
}

fn counted(facets: &[Facet]) -> Vec<(String, String)> {
    facets
        .iter()
        .map(|facet| {
            (
                facet.value.clone(),
                format!("{} ({})", facet.name, facet.count),
            )
        })
        .collect()
}

fn plain(value: f64) -> String {
    crate::format::trimmed(value, 2).replace(',', "")
}
