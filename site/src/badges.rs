//! Badges for other people's pages: a word each, drawn without fonts or scripts of others.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::gate::Verdict;
use domain::history::{ChangeState, GateAnswer, RegressionsAnswer};
use domain::ids::Slug;

use crate::error::PageError;
use crate::format;
use crate::names;
use crate::routes::Site;

/// Longer messages are cut.
const MAX_LETTERS: usize = 40;
/// Width of a letter, about; the text is fitted into what is reserved for it.
const LETTER: usize = 7;
/// Room at each side of a text.
const AIR: usize = 7;

/// White letters on each of these have a contrast of 4.5 and more.
const GREEN: &str = "#00694D";
const RED: &str = "#A33A00";
const GREY: &str = "#565D66";
const BROWN: &str = "#8A5300";

#[derive(Template)]
#[template(path = "components/badge.svg")]
struct Badge {
    label: String,
    message: String,
    colour: &'static str,
}

impl Badge {
    fn new(label: &str, message: &str, colour: &'static str) -> Self {
        let text = |text: &str| names::drawable(&names::cut(text, MAX_LETTERS));
        Self {
            label: text(label),
            message: text(message),
            colour,
        }
    }

    /// Where the label ends, the drawing ends, and the texts lie: middle and width.
    fn places(&self) -> (usize, usize, [(usize, usize); 2]) {
        let letters = |text: &str| LETTER * text.chars().count().max(1);
        let (label, message) = (letters(&self.label), letters(&self.message));
        let middle = label + 2 * AIR;
        let whole = middle + message + 2 * AIR;
        let texts = [(middle / 2, label), (middle + AIR + message / 2, message)];
        (middle, whole, texts)
    }
}

/// `GET /badge/{kind}/{name}.svg`: `gate` by content id, `regressions` by engine.
pub(crate) async fn show(
    State(site): State<Site>,
    Path((kind, file)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let missing = || PageError::NotFound(format!("badge {}", names::cut(&file, 80)));
    let name = file.strip_suffix(".svg").ok_or_else(missing)?;
    let badge = match kind.as_str() {
        "gate" => {
            let path = format!("/api/v1/gates/{}", names::segment(name));
            of_gate(&site.client.read::<GateAnswer>(&path).await?.0)
        }
        "regressions" => {
            let slug: Slug = name.parse().map_err(|_| missing())?;
            let path = format!("/api/v1/regressions?engine={slug}");
            let (answer, _) = site.client.read::<RegressionsAnswer>(&path).await?;
            of_regressions(&slug, &answer)
        }
        _ => return Err(missing()),
    };
    Ok(([(CONTENT_TYPE, "image/svg+xml")], badge.render()?).into_response())
}

fn of_gate(answer: &GateAnswer) -> Badge {
    let row = &answer.row;
    let label = match row.purpose.as_str() {
        "aa" => "joulemark A/A gate",
        "compare" => "joulemark compare",
        _ => "joulemark gate",
    };
    if row.purpose == "compare" && row.verdict != Verdict::Invalid {
        return Badge::new(label, "no verdict asked", GREY);
    }
    let word = row.verdict.as_str();
    let (message, colour) = match row.verdict {
        Verdict::Pass => {
            let found = row
                .mde
                .map(|mde| format!(", finds {}", format::percent(mde)));
            (format!("{word}{}", found.unwrap_or_default()), GREEN)
        }
        Verdict::Improved => (with_effect(word, row.effect), GREEN),
        Verdict::Regressed => (with_effect(word, row.effect), RED),
        Verdict::Inconclusive => (word.to_owned(), GREY),
        Verdict::Invalid => (word.to_owned(), BROWN),
    };
    Badge::new(label, &message, colour)
}

fn with_effect(word: &str, effect: Option<f64>) -> String {
    effect.map_or_else(
        || word.to_owned(),
        |effect| format!("{word} {}", format::change(effect)),
    )
}

/// What nobody measured has no regressions "none confirmed": it is not known.
fn of_regressions(slug: &Slug, answer: &RegressionsAnswer) -> Badge {
    let label = format!("{slug} regressions");
    if answer.series.is_empty() && answer.gates.is_empty() {
        return Badge::new(&label, "nothing measured", GREY);
    }
    let confirmed = answer
        .changes
        .iter()
        .filter(|change| change.state == ChangeState::Confirmed && change.is_regression)
        .count();
    if confirmed == 0 {
        return Badge::new(&label, "none confirmed", GREEN);
    }
    Badge::new(&label, &format!("{confirmed} confirmed"), RED)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_badge_says_the_gates_word_and_is_asked_for_again_soon() {
        let site = site(sample::priced());
        for (id, words) in [
            (sample::gates::PASSED, "PASS, finds 1.1\u{a0}%"),
            (sample::gates::REGRESSED, "REGRESSED +3.4\u{a0}%"),
            (sample::gates::INVALID, "INVALID"),
        ] {
            let badge = get(&site, &format!("/badge/gate/{id}.svg")).await;
            assert_eq!(badge.content_type, "image/svg+xml");
            assert!(badge.cache.contains("max-age=30"));
            assert!(badge.body.contains(words), "{}", badge.body);
        }
        for path in [
            "/badge/gate/none.svg",
            "/badge/gate/none",
            "/badge/else/candle.svg",
        ] {
            assert_eq!(
                get(&site, path).await.status,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn an_engine_that_nobody_measured_is_not_called_free_of_regressions() {
        let of = async |sample, slug: &str| {
            let badge = get(&site(sample), &format!("/badge/regressions/{slug}.svg")).await;
            assert_eq!(badge.status, StatusCode::OK, "{slug}");
            badge.body
        };
        assert!(of(sample::priced(), "candle").await.contains("1 confirmed"));
        assert!(
            of(sample::priced(), "llama-cpp")
                .await
                .contains("none confirmed")
        );
        assert!(
            of(sample::priced(), "vllm")
                .await
                .contains("nothing measured")
        );
        assert!(
            of(sample::empty(), "candle")
                .await
                .contains("nothing measured")
        );
    }

    #[test]
    fn hostile_words_stay_text() {
        let badge = Badge::new("<script>", "a\u{0}\"&'<b>\u{202e}", GREY);
        let drawn = badge.render().expect("drawn");
        assert!(!drawn.contains("<script>") && !drawn.contains("<b>"));
        assert!(!drawn.contains('\u{0}') && !drawn.contains('\u{202e}'));
    }
}
