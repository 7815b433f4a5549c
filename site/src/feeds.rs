//! `/regressions.atom`: what paired runs confirmed, and nothing else.
//!
//! The same answer of the collector gives the same bytes. Addresses inside are relative to the
//! feed's own, since a site does not know under which names it is reached.

use atom_syndication::{Content, Entry, Feed, FixedDateTime, Link, Person, Text};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::history::{ChangeRow, ChangeState, RegressionsAnswer};
use sha2::{Digest, Sha256};

use crate::error::PageError;
use crate::format;
use crate::names::drawable;
use crate::pages::regressions::{direction, metric_words};
use crate::routes::Site;

/// More entries than this no reader keeps up with; the page has the others.
const MAX_ENTRIES: usize = 200;
/// A feed without entries was never updated: the beginning of Unix time, the same for ever.
const NEVER: &str = "1970-01-01T00:00:00+00:00";

/// `GET /regressions.atom`.
pub(crate) async fn regressions(State(site): State<Site>) -> Result<Response, PageError> {
    let path = "/api/v1/regressions";
    let (answer, _) = site.client.read::<RegressionsAnswer>(path).await?;
    let kind = [(CONTENT_TYPE, "application/atom+xml; charset=utf-8")];
    Ok((kind, feed(&answer)?.to_string()).into_response())
}

fn feed(answer: &RegressionsAnswer) -> Result<Feed, PageError> {
    let mut confirmed: Vec<&ChangeRow> = answer
        .changes
        .iter()
        .filter(|change| change.state == ChangeState::Confirmed)
        .collect();
    // Newest first, as feeds are read; ids decide among the same moment, so that bytes stay equal.
    confirmed.sort_by(|a, b| (&b.updated_at, &b.id).cmp(&(&a.updated_at, &a.id)));
    let entries: Vec<Entry> = confirmed
        .into_iter()
        .take(MAX_ENTRIES)
        .map(entry)
        .collect::<Result<_, _>>()?;
    let updated = match entries.iter().map(|entry| entry.updated).max() {
        Some(newest) => newest,
        None => moment(NEVER)?,
    };
    Ok(Feed {
        title: Text::plain("Joulemark: confirmed changes"),
        subtitle: Some(Text::plain(
            "What became slower, hungrier or larger, and what became better: only what a paired run of both builds confirmed.",
        )),
        id: urn("feed of confirmed changes"),
        updated,
        authors: vec![Person {
            name: "Joulemark".to_owned(),
            ..Person::default()
        }],
        rights: Some(Text::plain(drawable(&answer.licence))),
        links: vec![
            link("self", "/regressions.atom", "application/atom+xml"),
            link("alternate", "/regressions", "text/html"),
        ],
        entries,
        ..Feed::default()
    })
}

fn entry(change: &ChangeRow) -> Result<Entry, PageError> {
    let series = &change.series;
    let what = format!(
        "{} {}",
        format::change(change.effect),
        direction(&series.metric, change.is_regression)
    );
    let title = format!(
        "{}: {} {what}, {} {}",
        series.engine,
        metric_words(series),
        series.model,
        series.variant
    );
    let page = format!("/series/{}", crate::names::segment(&series.id));
    let said = format!(
        "{what}. Last build before: {}. First build after: {}. Workload {}, on {}. A paired run of \
         both builds confirmed it.{}",
        change.last_good,
        change.first_bad,
        series.workload,
        series.setup,
        change
            .note
            .as_ref()
            .map_or_else(String::new, |note| format!(" {note}")),
    );
    Ok(Entry {
        title: Text::plain(drawable(&title)),
        id: urn(&change.id),
        updated: moment(&change.updated_at)?,
        published: Some(moment(&change.at)?),
        links: vec![link("alternate", &page, "text/html")],
        content: Some(Content {
            value: Some(drawable(&said)),
            content_type: Some("text".to_owned()),
            ..Content::default()
        }),
        ..Entry::default()
    })
}

fn link(rel: &str, href: &str, kind: &str) -> Link {
    Link {
        rel: rel.to_owned(),
        href: href.to_owned(),
        mime_type: Some(kind.to_owned()),
        ..Link::default()
    }
}

/// A name for ever, whatever the change's own id holds: version 8 of RFC 9562, from its SHA-256.
fn urn(name: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"joulemark-atom-v1")
        .chain_update(name.as_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn moment(rfc3339: &str) -> Result<FixedDateTime, PageError> {
    FixedDateTime::parse_from_rfc3339(rfc3339)
        .map_err(|error| PageError::Feed(format!("{rfc3339:?} is no time: {error}")))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn only_confirmed_changes_are_told_and_the_feed_is_found_from_the_page() {
        let site = site(sample::priced());
        let answer = get(&site, "/regressions.atom").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.content_type, "application/atom+xml; charset=utf-8");
        let feed: Feed = answer.body.parse().expect("Atom");
        assert_eq!(feed.entries.len(), 2, "one became worse, one better");
        assert_eq!(feed.updated, feed.entries[0].updated);
        assert!(feed.entries[0].updated >= feed.entries[1].updated);
        assert!(!answer.body.contains("suspect"));
        let page = get(&site, "/regressions").await;
        let found =
            "<link rel=\"alternate\" type=\"application/atom+xml\" href=\"/regressions.atom\">";
        assert!(page.body.contains(found), "{}", page.body);
        insta::assert_snapshot!("atom", answer.body);
    }

    #[tokio::test]
    async fn the_same_answer_gives_the_same_bytes_and_an_entry_keeps_its_id() {
        let (first, again) = (site(sample::priced()), site(sample::priced()));
        let first = get(&first, "/regressions.atom").await;
        assert_eq!(first.body, get(&again, "/regressions.atom").await.body);
        assert_eq!(urn("c1"), urn("c1"));
        assert_ne!(urn("c1"), urn("c2"));
        assert_eq!(urn("c1").len(), "urn:uuid:".len() + 36);
    }

    #[tokio::test]
    async fn hostile_names_stay_text_in_a_feed_that_parses() {
        let answer = get(&site(sample::hostile()), "/regressions.atom").await;
        assert_eq!(answer.status, StatusCode::OK);
        let feed: Feed = answer.body.parse().expect("Atom");
        assert!(
            feed.entries[0]
                .title
                .value
                .contains("<script>alert(1)</script>")
        );
        assert!(!answer.body.contains("<script"));
        let refused = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{fffe}' | '\u{ffff}');
        assert!(!answer.body.contains(refused));
    }

    #[tokio::test]
    async fn a_feed_of_nothing_is_a_feed() {
        let answer = get(&site(sample::empty()), "/regressions.atom").await;
        let feed: Feed = answer.body.parse().expect("Atom");
        assert!(feed.entries.is_empty());
        assert_eq!(feed.updated.to_rfc3339(), NEVER);
    }
}
