//! The frontier's question, as it stands in the address bar.
//!
//! One spelling each: keys sorted, defaults dropped, so that a view has one address. Other
//! spellings are read, and answered by a redirect to [`FrontierQuery::canonical`]. Names of
//! models, engines, setups and suites are slugs in the URL.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;
use url::form_urlencoded;

use crate::api::Objective;
use crate::ids::Slug;
use crate::scope::{Scope, ScopeKey};
use crate::tier::Tier;

/// The budget of a question that names none, in US dollars.
pub const DEFAULT_BUDGET_USD: f64 = 2_000.0;

/// The longest query read, in bytes.
pub const MAX_QUERY_BYTES: usize = 4_096;

/// The most pairs in one query, and the most values of one key.
pub const MAX_PAIRS: usize = 100;

/// The largest number accepted anywhere.
pub const MAX_NUMBER: f64 = 1e9;

/// Every key but the family `price.{setup}`.
pub const KEYS: [&str; 16] = [
    "across-scopes",
    "axes",
    "budget",
    "engine",
    "imported",
    "max-joules",
    "min-decode",
    "min-quality",
    "model",
    "scope",
    "setup",
    "suite",
    "tier",
    "vendor",
    "workload",
    "price.{setup}",
];

/// What a reader asks of the frontier.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierQuery {
    /// `budget`: US dollars without tax.
    pub budget_usd: f64,
    /// `axes`: two or three different objectives, the first one orders the rows. Written
    /// `quality-decode`. `None`: the collector chooses and says why.
    pub objectives: Option<Vec<Objective>>,
    /// `min-decode`: tokens per second.
    pub min_decode: Option<f64>,
    /// `min-quality`: percent of the suite, above 0 and up to 100.
    pub min_quality_percent: Option<f64>,
    /// `max-joules`: joules per correct answer.
    pub max_joules: Option<f64>,
    /// `scope`: compare joules of this energy scope. `None`: that of the most results.
    pub scope: Option<ScopeKey>,
    /// `across-scopes=1`: joules of different scopes side by side, by the reader's own act.
    pub across_scopes: bool,
    /// `imported=1`: results of other tools beside, by the reader's own act.
    pub imported: bool,
    /// `tier`: lowest tier shown. `None`: the collector's default.
    pub tier: Option<Tier>,
    /// `workload`. `None`: the one with the most results.
    pub workload: Option<Slug>,
    /// `suite`. `None`: the one with the most results.
    pub suite: Option<Slug>,
    /// `engine`, any of.
    pub engines: BTreeSet<Slug>,
    /// `model`, any of.
    pub models: BTreeSet<Slug>,
    /// `setup`, any of.
    pub setups: BTreeSet<Slug>,
    /// `vendor` of a setup's hardware, any of.
    pub vendors: BTreeSet<Slug>,
    /// `price.{setup}`: the reader's own prices in US dollars.
    pub prices: BTreeMap<Slug, f64>,
}

impl Default for FrontierQuery {
    fn default() -> Self {
        Self {
            budget_usd: DEFAULT_BUDGET_USD,
            objectives: None,
            min_decode: None,
            min_quality_percent: None,
            max_joules: None,
            scope: None,
            across_scopes: false,
            imported: false,
            tier: None,
            workload: None,
            suite: None,
            engines: BTreeSet::new(),
            models: BTreeSet::new(),
            setups: BTreeSet::new(),
            vendors: BTreeSet::new(),
            prices: BTreeMap::new(),
        }
    }
}

/// A value that cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The key as given.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// The value as given, cut at 80 characters.
    pub given: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} (given: {:?})",
            self.field, self.message, self.given
        )
    }
}

impl FrontierQuery {
    /// Reads a query string, without its `?`. Empty values count as absent, as a plain form
    /// sends them. Every bad field is named, not only the first.
    pub fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(vec![error(
                "",
                "",
                format!("a query has at most {MAX_QUERY_BYTES} bytes"),
            )]);
        }
        let mut parsed = Self::default();
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        let mut axes = String::new();
        for (position, (key, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let outcome = if position >= MAX_PAIRS {
                Err(format!("a query has at most {MAX_PAIRS} pairs"))
            } else if !may_repeat(&key) && !seen.insert(key.to_string()) {
                Err("given twice: give it once".to_owned())
            } else if key == "axes" {
                axes.push(' ');
                axes.push_str(value);
                Ok(())
            } else {
                parsed.set(&key, value)
            };
            if let Err(message) = outcome {
                errors.push(error(&key, value, message));
            }
            if position >= MAX_PAIRS {
                break;
            }
        }
        if !axes.is_empty() {
            match read_axes(&axes) {
                Ok(objectives) => parsed.objectives = Some(objectives),
                Err(message) => errors.push(error("axes", axes.trim(), message)),
            }
        }
        if errors.is_empty() {
            Ok(parsed)
        } else {
            Err(errors)
        }
    }

    /// The question's one spelling: keys sorted, defaults dropped, empty for the default.
    pub fn canonical(&self) -> String {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut push = |key: &str, value: String| pairs.push((key.to_owned(), value));
        if let Some(objectives) = &self.objectives {
            let words: Vec<_> = objectives
                .iter()
                .map(|objective| objective.as_str())
                .collect();
            push("axes", words.join("-"));
        }
        if self.budget_usd.to_bits() != DEFAULT_BUDGET_USD.to_bits() {
            push("budget", self.budget_usd.to_string());
        }
        for (key, slugs) in [
            ("engine", &self.engines),
            ("model", &self.models),
            ("setup", &self.setups),
            ("vendor", &self.vendors),
        ] {
            for slug in slugs {
                push(key, slug.to_string());
            }
        }
        for (key, number) in [
            ("max-joules", self.max_joules),
            ("min-decode", self.min_decode),
            ("min-quality", self.min_quality_percent),
        ] {
            if let Some(number) = number {
                push(key, number.to_string());
            }
        }
        for (key, slug) in [("suite", &self.suite), ("workload", &self.workload)] {
            if let Some(slug) = slug {
                push(key, slug.to_string());
            }
        }
        if let Some(scope) = &self.scope {
            push("scope", scope.to_string());
        }
        if self.across_scopes {
            push("across-scopes", "1".to_owned());
        }
        if self.imported {
            push("imported", "1".to_owned());
        }
        if let Some(tier) = self.tier {
            push("tier", tier.as_str().to_owned());
        }
        for (setup, usd) in &self.prices {
            push(&format!("price.{setup}"), usd.to_string());
        }
        pairs.sort();
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "budget" => self.budget_usd = positive(value)?,
            "min-decode" => self.min_decode = bound(value)?,
            "min-quality" => {
                let percent = bound(value)?;
                if percent.is_some_and(|percent| percent > 100.0) {
                    return Err("percent of the suite: at most 100".to_owned());
                }
                self.min_quality_percent = percent;
            }
            "max-joules" => self.max_joules = Some(positive(value)?),
            // An unescaped plus sign of a sum arrives as a space.
            "scope" => self.scope = Some(read_scope(&value.replace(' ', "+"))?),
            "across-scopes" => self.across_scopes = yes(value)?,
            "imported" => self.imported = yes(value)?,
            "tier" => self.tier = Some(read_tier(value)?),
            "workload" => self.workload = Some(slug(value)?),
            "suite" => self.suite = Some(slug(value)?),
            "engine" => insert(&mut self.engines, value)?,
            "model" => insert(&mut self.models, value)?,
            "setup" => insert(&mut self.setups, value)?,
            "vendor" => insert(&mut self.vendors, value)?,
            _ => {
                let Some(setup) = key.strip_prefix("price.") else {
                    return Err(format!(
                        "unknown key: the known ones are {}",
                        KEYS.join(", ")
                    ));
                };
                let setup = slug(setup)?;
                self.prices.insert(setup, positive(value)?);
            }
        }
        Ok(())
    }
}

/// The fewest and the most results that are put side by side.
const COMPARED: std::ops::RangeInclusive<usize> = 2..=6;

/// Which results a reader puts side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompareQuery {
    /// `r`: two to six different ids, the first one is the base. Written `r=a,b`.
    pub results: Vec<String>,
}

impl CompareQuery {
    /// Reads a query string, without its `?`. Ids are joined by commas, or each has an `r` of its
    /// own. Every bad field is named.
    pub fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        if query.len() > MAX_QUERY_BYTES {
            let message = format!("a query has at most {MAX_QUERY_BYTES} bytes");
            return Err(vec![error("", "", message)]);
        }
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if key != "r" {
                let message = "unknown key: the known one is r".to_owned();
                errors.push(error(&key, &value, message));
                continue;
            }
            for id in value.split(',').map(str::trim).filter(|id| !id.is_empty()) {
                let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if id.len() != 16 || !id.bytes().all(digits) {
                    let message = "the id of a result is needed: 16 hexadecimal digits";
                    errors.push(error("r", id, message.to_owned()));
                } else if results.iter().any(|known| known == id) {
                    errors.push(error("r", id, "given twice: give it once".to_owned()));
                } else {
                    results.push(id.to_owned());
                }
            }
        }
        if errors.is_empty() && !COMPARED.contains(&results.len()) {
            let message = "two to six results are needed, such as r=a,b".to_owned();
            errors.push(error("r", "", message));
        }
        if errors.is_empty() {
            Ok(Self { results })
        } else {
            Err(errors)
        }
    }

    /// The question's one spelling.
    pub fn canonical(&self) -> String {
        format!("r={}", self.results.join(","))
    }
}

/// The share that passes a task when the reader names none, in percent.
pub const DEFAULT_PASS_PERCENT: f64 = 80.0;

/// Where a model's variants are compared: `GET /api/v1/models/{slug}`. What is left out is chosen
/// by the collector: the place with the most variants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelQuery {
    /// `setup`.
    pub setup: Option<Slug>,
    /// `engine`: its name in URLs.
    pub engine: Option<Slug>,
    /// `workload`.
    pub workload: Option<Slug>,
    /// `suite`.
    pub suite: Option<Slug>,
}

impl ModelQuery {
    /// Reads a query string, without its `?`. Every bad field is named.
    pub fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        let mut parsed = Self::default();
        each_once(query, |key, value| {
            let place = match key {
                "setup" => &mut parsed.setup,
                "engine" => &mut parsed.engine,
                "workload" => &mut parsed.workload,
                "suite" => &mut parsed.suite,
                _ => {
                    let message = "unknown key: the known ones are engine, setup, suite, workload";
                    return Err(message.to_owned());
                }
            };
            *place = Some(slug(value)?);
            Ok(())
        })?;
        Ok(parsed)
    }

    /// The question's one spelling: keys sorted, empty for the default.
    pub fn canonical(&self) -> String {
        spelled([
            ("engine", &self.engine),
            ("setup", &self.setup),
            ("suite", &self.suite),
            ("workload", &self.workload),
        ])
    }
}

/// Which tasks are passed, and how surely: `GET /api/v1/tasks`.
#[derive(Debug, Clone, PartialEq)]
pub struct TasksQuery {
    /// `suite`. `None`: `core-v1` where it has results, else the one with the most.
    pub suite: Option<Slug>,
    /// `pass`: share of right answers that passes, in percent, 1 to 99.
    pub pass_percent: f64,
}

impl Default for TasksQuery {
    fn default() -> Self {
        Self {
            suite: None,
            pass_percent: DEFAULT_PASS_PERCENT,
        }
    }
}

impl TasksQuery {
    /// Reads a query string, without its `?`. Every bad field is named.
    pub fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        let mut parsed = Self::default();
        each_once(query, |key, value| {
            match key {
                "suite" => parsed.suite = Some(slug(value)?),
                "pass" => {
                    let percent = number(value)?;
                    if !(1.0..=99.0).contains(&percent) {
                        return Err("percent of right answers: 1 to 99".to_owned());
                    }
                    parsed.pass_percent = percent;
                }
                _ => return Err("unknown key: the known ones are pass, suite".to_owned()),
            }
            Ok(())
        })?;
        Ok(parsed)
    }

    /// The question's one spelling: keys sorted, defaults dropped.
    pub fn canonical(&self) -> String {
        let is_default = self.pass_percent.to_bits() == DEFAULT_PASS_PERCENT.to_bits();
        let pass = (!is_default).then(|| self.pass_percent.to_string());
        let suite = self.suite.as_ref().map(Slug::to_string);
        spelled([("pass", &pass), ("suite", &suite)])
    }
}

/// Which changes and gates: `GET /api/v1/regressions`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegressionsQuery {
    /// `engine`, as addresses spell it; all if none.
    pub engine: Option<Slug>,
    /// `from`: the first day, UTC.
    pub from: Option<Date>,
    /// `to`: the last day, UTC.
    pub to: Option<Date>,
}

impl RegressionsQuery {
    /// Reads a query string, without its `?`. Every bad field is named.
    pub fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        let mut parsed = Self::default();
        each_once(query, |key, value| {
            match key {
                "engine" => parsed.engine = Some(slug(value)?),
                "from" => parsed.from = Some(day(value)?),
                "to" => parsed.to = Some(day(value)?),
                _ => return Err("unknown key: the known ones are engine, from, to".to_owned()),
            }
            Ok(())
        })?;
        if let (Some(from), Some(to)) = (parsed.from, parsed.to)
            && from > to
        {
            let message = format!("the first day or a later one is needed: {from} or after");
            return Err(vec![error("to", &to.to_string(), message)]);
        }
        Ok(parsed)
    }

    /// The question's one spelling: keys sorted, defaults dropped.
    pub fn canonical(&self) -> String {
        let engine = self.engine.as_ref().map(Slug::to_string);
        let day = |day: Option<Date>| day.map(|day| day.to_string());
        spelled([
            ("engine", &engine),
            ("from", &day(self.from)),
            ("to", &day(self.to)),
        ])
    }
}

/// Reads pairs whose keys may stand once; empty values count as absent.
fn each_once(
    query: &str,
    mut read: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), Vec<FieldError>> {
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("a query has at most {MAX_QUERY_BYTES} bytes");
        return Err(vec![error("", "", message)]);
    }
    let (mut seen, mut errors) = (BTreeSet::new(), Vec::new());
    for (key, value) in form_urlencoded::parse(query.as_bytes()).take(MAX_PAIRS) {
        let value = value.trim();
        if value.is_empty() {
            continue;
        }
        let read = if seen.insert(key.clone()) {
            read(&key, value)
        } else {
            Err("given twice: give it once".to_owned())
        };
        if let Err(message) = read {
            errors.push(error(&key, value, message));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// The pairs that have a value.
fn spelled<T: fmt::Display, const N: usize>(pairs: [(&str, &Option<T>); N]) -> String {
    let given = pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?.to_string())));
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish()
}

fn may_repeat(key: &str) -> bool {
    matches!(key, "axes" | "engine" | "model" | "setup" | "vendor")
}

fn error(field: &str, given: &str, message: String) -> FieldError {
    let cut = |text: &str| text.chars().take(80).collect();
    FieldError {
        field: cut(field),
        message,
        given: cut(given),
    }
}

fn insert(slugs: &mut BTreeSet<Slug>, value: &str) -> Result<(), String> {
    slugs.insert(slug(value)?);
    Ok(())
}

fn slug(value: &str) -> Result<Slug, String> {
    value
        .parse()
        .map_err(|_| "1 to 64 of a-z, 0-9 and '-' are needed".to_owned())
}

/// A day, written `YYYY-MM-DD` and no other way, so that it has one spelling.
fn day(value: &str) -> Result<Date, String> {
    value
        .parse()
        .ok()
        .filter(|day: &Date| day.to_string() == value && day.year() > 0)
        .ok_or_else(|| "a day such as 2026-11-21 is needed".to_owned())
}

/// A lower bound: 0 means none.
fn bound(value: &str) -> Result<Option<f64>, String> {
    number(value).map(|number| (number > 0.0).then_some(number))
}

fn yes(value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err("1 or 0 is needed".to_owned()),
    }
}

fn positive(value: &str) -> Result<f64, String> {
    number(value).and_then(|number| {
        if number > 0.0 {
            Ok(number)
        } else {
            Err("a number above 0 is needed".to_owned())
        }
    })
}

/// Digits with an optional decimal point; `$`, `%` and commas between groups of three digits
/// are read over. No sign, exponent, infinity or NaN.
fn number(value: &str) -> Result<f64, String> {
    let refuse = || Err("a number such as 2000 or 2,000 or 0.5 is needed".to_owned());
    let bare = value.trim_start_matches('$').trim_end_matches('%').trim();
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let grouped = groups.clone().count() > 0;
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = all_digits(fraction)
        && all_digits(first)
        && !(whole.is_empty() && fraction.is_empty())
        && (!grouped || (1..=3).contains(&first.len()))
        && groups.all(|group| group.len() == 3 && all_digits(group));
    if !fits || bare.len() > 40 {
        return refuse();
    }
    match bare.replace(',', "").parse::<f64>() {
        Ok(number) if number <= MAX_NUMBER => Ok(number),
        Ok(_) => Err(format!("at most {MAX_NUMBER}")),
        Err(_) => refuse(),
    }
}

fn read_scope(value: &str) -> Result<ScopeKey, String> {
    value.parse().map_err(|_| {
        let scopes = Scope::ALL.map(Scope::as_str).join(", ");
        format!("one of {scopes}, cpu.pkg+gpu.board, cpu.dram+cpu.pkg+gpu.board is needed")
    })
}

fn read_tier(value: &str) -> Result<Tier, String> {
    let tier: Tier = value.parse()?;
    if tier < Tier::SelfReported {
        return Err(format!(
            "{value} results are on no frontier: self-reported is the lowest floor"
        ));
    }
    Ok(tier)
}

fn read_axes(text: &str) -> Result<Vec<Objective>, String> {
    let known = || Objective::ALL.map(Objective::as_str).join(", ");
    let mut objectives = Vec::new();
    for word in text
        .split(['-', ',', '+', ' '])
        .filter(|word| !word.is_empty())
    {
        let objective = Objective::ALL
            .into_iter()
            .find(|objective| objective.as_str() == word)
            .ok_or_else(|| format!("an axis is one of {}", known()))?;
        if objectives.contains(&objective) {
            return Err(format!("{word} is there twice"));
        }
        objectives.push(objective);
    }
    if (2..=3).contains(&objectives.len()) {
        Ok(objectives)
    } else {
        Err(format!("two or three different ones of {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(query: &str) -> FrontierQuery {
        FrontierQuery::parse(query).expect(query)
    }

    fn refused(query: &str) -> FieldError {
        FrontierQuery::parse(query).expect_err(query).remove(0)
    }

    #[test]
    fn the_default_question_has_the_empty_spelling() {
        assert_eq!(parse(""), FrontierQuery::default());
        assert_eq!(
            parse("budget=$2,000&min-decode=&engine=&tier=").canonical(),
            ""
        );
    }

    #[test]
    fn other_spellings_lead_to_one() {
        for spelling in [
            "min-quality=65%25&budget=1,850&axes=quality,decode",
            "axes=quality&budget=%241850&axes=decode&min-quality=65.0",
            "axes=quality%2Bdecode&budget=01850&min-quality=65",
        ] {
            assert_eq!(
                parse(spelling).canonical(),
                "axes=quality-decode&budget=1850&min-quality=65"
            );
        }
    }

    #[test]
    fn facets_repeat_and_prices_belong_to_setups() {
        let query = parse("model=b&model=a&price.mac-mini=599&model=a&setup=unknown-0011aabb");
        assert_eq!(
            query.canonical(),
            "model=a&model=b&price.mac-mini=599&setup=unknown-0011aabb"
        );
    }

    #[test]
    fn every_bad_field_is_named_with_what_was_given() {
        let errors =
            FrontierQuery::parse("budget=-1&min-decode=fast&axes=quality&colour=red&tier=gold")
                .expect_err("five bad fields");
        let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["budget", "min-decode", "colour", "tier", "axes"]);
        assert!(errors[2].message.contains("min-quality"), "{}", errors[2]);
        assert_eq!(errors[1].given, "fast");
    }

    #[test]
    fn numbers_that_deceive_are_refused() {
        for bad in [
            "1,5",
            "1e5",
            "NaN",
            "inf",
            "0",
            "1,0000",
            ",500",
            "9999999999",
            ".",
            "--1",
            "1.2.3",
            "1 000",
        ] {
            refused(&format!("budget={bad}"));
        }
        assert_eq!(
            refused("budget=1&budget=2").message,
            "given twice: give it once"
        );
        refused("tier=imported");
        refused("min-quality=101");
        refused("axes=quality-quality");
        refused("axes=price-quality-decode-joules");
        refused(&format!("model={}", "a".repeat(65)));
        refused(&"a=b&".repeat(2_000));
    }

    #[test]
    fn two_to_six_results_are_put_side_by_side() {
        let parse = |query: &str| CompareQuery::parse(query);
        let (a, b) = ("00112233aabbccdd", "ffeeddccbbaa9988");
        let both = parse(&format!("r={a},{b}")).expect("two");
        assert_eq!(both.results, [a, b], "the base stays first");
        for spelling in [format!("r={a}%2C{b}"), format!("r={a}&r={b}")] {
            assert_eq!(parse(&spelling), Ok(both.clone()));
        }
        assert_eq!(both.canonical(), format!("r={a},{b}"));
        let seven: Vec<String> = (0..7).map(|i| format!("{i:016x}")).collect();
        assert!(parse(&format!("r={}", seven[..6].join(","))).is_ok());
        let message = |query: &str| parse(query).expect_err(query).remove(0).message;
        for too_few_or_many in [
            "",
            "r=",
            &format!("r={a}"),
            &format!("r={}", seven.join(",")),
        ] {
            assert!(message(too_few_or_many).starts_with("two to six"));
        }
        assert!(message(&format!("r={a},{a}")).contains("twice"));
        assert!(message(&format!("r={a},XYZ")).contains("16 hexadecimal"));
        assert!(message(&format!("r={a},{b}&q=1")).contains("unknown key"));
    }

    #[test]
    fn places_of_variants_have_one_spelling() {
        let asked = ModelQuery::parse("workload=pp16-tg17&setup=mini&engine=").expect("read");
        assert_eq!(asked.canonical(), "setup=mini&workload=pp16-tg17");
        assert_eq!(ModelQuery::parse(&asked.canonical()), Ok(asked));
        assert_eq!(ModelQuery::parse(""), Ok(ModelQuery::default()));
        let message = |query: &str| ModelQuery::parse(query).expect_err(query).remove(0).message;
        assert!(message("quant=q4").ends_with("engine, setup, suite, workload"));
        assert!(message("setup=Mini%20M4").starts_with("1 to 64"));
        assert!(message("setup=a&setup=b").contains("twice"));
        assert!(message(&"setup=a&".repeat(1_000)).contains("at most"));
    }

    #[test]
    fn tasks_are_asked_with_a_share_that_can_be_passed() {
        let asked = TasksQuery::parse("pass=90.5%25&suite=core-v1").expect("read");
        assert_eq!(asked.canonical(), "pass=90.5&suite=core-v1");
        assert_eq!(TasksQuery::parse(&asked.canonical()), Ok(asked));
        let default = TasksQuery::parse("pass=80").expect("read");
        assert_eq!(
            (default.canonical().as_str(), default),
            ("", TasksQuery::default())
        );
        let message = |query: &str| TasksQuery::parse(query).expect_err(query).remove(0).message;
        for share in ["0", "100", "0.8"] {
            assert!(message(&format!("pass={share}")).contains("1 to 99"));
        }
        assert!(message("pass=most").starts_with("a number"));
        assert!(message("budget=1").ends_with("pass, suite"));
    }

    #[test]
    fn regressions_are_asked_by_engine_and_days() {
        let asked = RegressionsQuery::parse("to=2026-11-21&engine=llama-cpp&from=2026-10-01");
        let asked = asked.expect("read");
        let spelled = "engine=llama-cpp&from=2026-10-01&to=2026-11-21";
        assert_eq!(asked.canonical(), spelled);
        assert_eq!(RegressionsQuery::parse(spelled), Ok(asked));
        let none = RegressionsQuery::parse("engine=&from=").expect("read");
        assert_eq!(none, RegressionsQuery::default());
        let message = |query: &str| {
            let errors = RegressionsQuery::parse(query).expect_err(query);
            format!("{}: {}", errors[0].field, errors[0].message)
        };
        assert!(message("engine=A B").starts_with("engine: 1 to 64"));
        for day in ["yesterday", "2026-13-01", "20261121", "2026-11-21T00:00Z"] {
            assert!(
                message(&format!("from={day}")).starts_with("from: a day"),
                "{day}"
            );
        }
        assert!(message("from=2026-11-21&to=2026-11-20").starts_with("to: the first day"));
        assert!(message("state=suspect").ends_with("engine, from, to"));
    }

    fn queries() -> impl Strategy<Value = FrontierQuery> {
        let number = || (1u64..1_000_000_000_000).prop_map(|n| n as f64 / 1e3);
        let slugs = || {
            prop::collection::btree_set(
                "[a-z0-9-]{1,12}".prop_map(|s| s.parse().expect("slug")),
                0..4,
            )
        };
        let slug =
            || prop::option::of("[a-z0-9-]{1,20}".prop_map(|s| s.parse::<Slug>().expect("slug")));
        let axes = Just(Objective::ALL.to_vec())
            .prop_shuffle()
            .prop_flat_map(|all| (2usize..=3).prop_map(move |n| all[..n].to_vec()));
        let tier = prop::sample::select(Tier::ALL[2..].to_vec());
        let numbers = (
            number(),
            prop::option::of(number()),
            prop::option::of(0.001..100.0f64),
            prop::option::of(number()),
        );
        let prices = prop::collection::btree_map(
            "[a-z0-9-]{1,12}".prop_map(|s| s.parse().expect("slug")),
            number(),
            0..4,
        );
        (
            numbers,
            prop::option::of(axes),
            prop::option::of(tier),
            (
                slug(),
                slug(),
                prop::option::of(prop::sample::select(Scope::ALL.to_vec())),
                any::<[bool; 2]>(),
            ),
            (slugs(), slugs(), slugs(), slugs()),
            prices,
        )
            .prop_map(
                |(
                    (budget_usd, min_decode, min_quality_percent, max_joules),
                    objectives,
                    tier,
                    (workload, suite, scope, [across_scopes, imported]),
                    facets,
                    prices,
                )| {
                    let (engines, models, setups, vendors) = facets;
                    FrontierQuery {
                        budget_usd,
                        objectives,
                        min_decode,
                        min_quality_percent,
                        max_joules,
                        scope: scope.map(|scope| ScopeKey::of(&[scope]).expect("one")),
                        across_scopes,
                        imported,
                        tier,
                        workload,
                        suite,
                        engines,
                        models,
                        setups,
                        vendors,
                        prices,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn the_canonical_spelling_says_the_same(query in queries()) {
            let spelled = query.canonical();
            let read = FrontierQuery::parse(&spelled).expect("canonical");
            prop_assert_eq!(&read, &query);
            prop_assert_eq!(read.canonical(), spelled);
        }

        #[test]
        fn no_text_breaks_the_reader(text in any::<String>()) {
            if let Ok(query) = FrontierQuery::parse(&text) {
                prop_assert_eq!(FrontierQuery::parse(&query.canonical()), Ok(query));
            }
        }
    }
}
