//! Which setup is the cheapest that passes a kind of task, at which level.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{TaskRow, TasksAnswer};

use crate::error::PageError;
use crate::format;
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{names, twins};

#[derive(Template)]
#[template(path = "pages/tasks.html")]
struct TasksPage {
    layout: Layout,
    suite: String,
    suites: Vec<String>,
    pass: String,
    /// Nothing was asked yet.
    is_empty: bool,
    rows: Vec<TaskView>,
}

struct TaskView {
    family: String,
    description: String,
    /// `all`, or the level's number.
    level: String,
    is_whole: bool,
    passing: String,
    cheapest: Option<CheapestView>,
    reason: String,
}

struct CheapestView {
    href: String,
    name: String,
    setup: String,
    setup_href: String,
    price: String,
    date: String,
    right: String,
    speed: Option<String>,
}

/// `GET /tasks?pass=&suite=`.
pub(crate) async fn show(
    State(site): State<Site>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let asked = twins::asked(query);
    let path = format!("/api/v1/tasks{asked}");
    let (answer, age) = site.client.read::<TasksAnswer>(&path).await?;
    let mut layout = Layout::new(
        "/tasks",
        "Good enough for what?",
        "The cheapest setup that passes each kind of task, at each level of difficulty.",
    );
    layout.age = age;
    layout.twins = twins::of("/tasks", &asked);
    let page = TasksPage {
        layout,
        pass: format::trimmed(100.0 * answer.pass, 1),
        is_empty: answer.rows.iter().all(|row| row.results == 0),
        rows: answer.rows.iter().map(view).collect(),
        suite: answer.suite,
        suites: answer.suites,
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

fn view(row: &TaskRow) -> TaskView {
    let percent = |share: f64| format::number(100.0 * share, 0);
    TaskView {
        family: row.family.clone(),
        description: row.description.clone(),
        level: if row.level == 0 {
            "all".to_owned()
        } else {
            row.level.to_string()
        },
        is_whole: row.level == 0,
        passing: format!("{} of {}", row.passing, row.results),
        cheapest: row.cheapest.as_ref().map(|result| CheapestView {
            href: names::result_path(&result.id),
            name: format!("{} {}", result.model, result.quant),
            setup: result.setup_name.clone(),
            setup_href: format!("/setups/{}", names::segment(&result.setup)),
            price: format::usd(result.price_usd),
            date: result.price_date.clone(),
            right: format!(
                "{} of {} right ({}–{} %)",
                result.correct,
                result.items,
                percent(result.accuracy_ci95_low),
                percent(result.accuracy_ci95_high)
            ),
            speed: result
                .decode_tokens_per_second
                .map(|speed| format!("{} tok/s", format::rough(speed))),
        }),
        reason: row.reason.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn the_cheapest_that_surely_passes_is_named_or_the_reason_why_none_is() {
        let page = get(&site(sample::priced()), "/tasks").await;
        assert_eq!(page.status, StatusCode::OK);
        for part in [
            "$599",
            "58 of 60 right",
            "no result’s interval lies above 80 %",
        ] {
            assert!(page.body.contains(part), "{part}");
        }
    }
}
