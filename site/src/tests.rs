//! The whole site against a scripted read API: snapshots of every page, a crawl of every link,
//! the promises that hold for all answers.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, LOCATION};
use axum::http::{Request, StatusCode};
use tower::ServiceExt;

use crate::results::Client;
use crate::{SiteOptions, sample};

/// A site over a scripted API, with its options at hand.
pub(crate) struct Served {
    router: Router,
    pub(crate) options: SiteOptions,
}

/// What a browser would see of an answer.
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) cache: String,
    pub(crate) location: Option<String>,
    pub(crate) links: Vec<String>,
    pub(crate) tag: String,
    pub(crate) policy: String,
    pub(crate) body: String,
}

/// The site over a scripted API.
pub(crate) fn site(api: Router) -> Served {
    let options = SiteOptions::default();
    Served {
        router: crate::router(Client::in_process(api), options.clone()),
        options,
    }
}

/// Asks for a page.
pub(crate) async fn get(site: &Served, path: &str) -> Seen {
    get_if_changed(site, path, "").await
}

async fn get_if_changed(site: &Served, path: &str, tag: &str) -> Seen {
    let request = Request::get(path)
        .header(IF_NONE_MATCH, tag)
        .body(Body::empty())
        .expect("a request");
    let answer = site
        .router
        .clone()
        .oneshot(request)
        .await
        .expect("infallible");
    let header = |name| {
        answer
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let (status, content_type, cache, tag) = (
        answer.status(),
        header(CONTENT_TYPE),
        header(CACHE_CONTROL),
        header(ETAG),
    );
    let location = Some(header(LOCATION)).filter(|location| !location.is_empty());
    let policy = header(axum::http::header::CONTENT_SECURITY_POLICY);
    let links = answer
        .headers()
        .get_all(LINK)
        .iter()
        .filter_map(|link| link.to_str().ok().map(str::to_owned))
        .collect();
    let bytes = axum::body::to_bytes(answer.into_body(), 64 << 20)
        .await
        .expect("a body");
    let body = String::from_utf8(bytes.to_vec()).expect("text");
    Seen {
        status,
        content_type,
        cache,
        location,
        links,
        tag,
        policy,
        body,
    }
}

/// Without the hashed names of assets, so that a change of style changes no snapshot.
fn settled(body: &str) -> String {
    body.replace(&crate::assets::STYLE.path(), "/static/site.css")
        .replace(&crate::assets::ICON.path(), "/static/icon.svg")
        .replace(&crate::assets::TRENDS.path(), "/static/trends.js")
}

const PAGES: [(&str, &str); 11] = [
    ("home", "/"),
    ("result", "/results/00000000000000a0"),
    ("models", "/models"),
    ("model", "/models/joulemark-reference-3-5m"),
    ("engines", "/engines"),
    ("engine", "/engines/candle"),
    ("build", "/engines/candle/aa00bb11cc22"),
    ("hardware", "/hardware"),
    ("part", "/hardware/rtx-3090"),
    ("setup", "/setups/pc-rtx-3090"),
    (
        "record",
        "/records/7d1f0c2b9ae64f5580c1d2e3f405162738495a6b7c8d9eaf00112233445566aa",
    ),
];

#[tokio::test]
async fn pages_of_one_machine_without_price_and_meter() {
    let site = site(sample::plain());
    for (name, path) in PAGES {
        let page = get(&site, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        insta::assert_snapshot!(format!("plain_{name}"), settled(&page.body));
    }
}

#[tokio::test]
async fn pages_with_prices_and_joules() {
    let site = site(sample::priced());
    insta::assert_snapshot!("priced_home", settled(&get(&site, "/").await.body));
    insta::assert_snapshot!(
        "priced_result",
        settled(&get(&site, "/results/00000000000000a4").await.body)
    );
}

#[tokio::test]
async fn joules_of_one_scope_and_across_scopes() {
    for (name, across) in [("one", false), ("across", true)] {
        let site = site(sample::joules(across));
        let home = get(&site, "/").await;
        insta::assert_snapshot!(format!("scopes_{name}"), settled(&home.body));
        let warned = home.body.contains("not comparable with one another</text>");
        assert_eq!(warned, across, "the warning stands on the chart itself");
        assert_eq!(
            home.body.contains("Joules per correct answer, cpu.pkg"),
            !across
        );
    }
}

#[tokio::test]
async fn results_side_by_side() {
    let site = site(sample::joules(false));
    let (base, same, other) = ("00000000000000a0", "00000000000000a3", "00000000000000a1");
    let page = get(&site, &format!("/compare?r={base}&r={same}&r={other}")).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("not compared: joules of two scopes"));
    insta::assert_snapshot!("compare", settled(&page.body));
    let alone = get(&site, &format!("/compare?r={base}")).await;
    assert!(alone.body.contains("needs two to six results"));
    let unknown = get(&site, "/compare?r=1,2").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let many = get(&site, "/compare?r=1,2,3,4,5,6,7").await;
    assert_eq!(many.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_of_one_model_through_several_engines() {
    let site = site(sample::engines());
    for (name, path) in [
        ("home", "/"),
        ("model", "/models/joulemark-reference-3-5m"),
        ("engines", "/engines"),
        ("engine", "/engines/llama-cpp"),
        ("build", "/engines/llama-cpp/0011223344aa"),
        ("views", "/results/00000000000000a6"),
        ("streams", "/results/00000000000000b0"),
        ("self_timed", "/results/00000000000000b2"),
        ("best_of_4", "/results/00000000000000b3"),
    ] {
        let page = get(&site, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        insta::assert_snapshot!(format!("engines_{name}"), settled(&page.body));
    }
}

#[tokio::test]
async fn pages_before_anything_was_measured() {
    let site = site(sample::empty());
    for (name, path) in [
        ("home", "/"),
        ("models", "/models"),
        ("engines", "/engines"),
        ("hardware", "/hardware"),
    ] {
        let page = get(&site, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        insta::assert_snapshot!(format!("empty_{name}"), settled(&page.body));
    }
}

#[tokio::test]
async fn pages_of_hostile_names_stay_pages() {
    let site = site(sample::hostile());
    for (name, path) in PAGES {
        let page = get(&site, path).await;
        // Of the models only hostile names are left, under the slugs of the family.
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for markup in [
            "<script",
            "<img",
            "onerror=alert(1)>",
            "javascript:alert(1)\"",
        ] {
            assert!(!page.body.contains(markup), "{markup} in {path}");
        }
        if ["home", "result", "engine", "build"].contains(&name) {
            insta::assert_snapshot!(format!("hostile_{name}"), settled(&page.body));
        }
    }
}

const GATE_PAGES: [(&str, &str); 5] = [
    ("regressions", "/regressions"),
    ("regressions_of_one", "/regressions/candle"),
    ("series", "/series/candle-decode"),
    (
        "gate",
        "/gates/1a00000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "gate_passed",
        "/gates/1b00000000000000000000000000000000000000000000000000000000000000",
    ),
];

#[tokio::test]
async fn pages_of_gates_and_series() {
    let site = site(sample::priced());
    for (name, path) in GATE_PAGES {
        let page = get(&site, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        insta::assert_snapshot!(format!("gates_{name}"), settled(&page.body));
    }
    let empty = get(&crate::tests::site(sample::empty()), "/regressions").await;
    insta::assert_snapshot!("empty_regressions", settled(&empty.body));
}

#[tokio::test]
async fn hostile_gates_and_series_stay_pages() {
    let site = site(sample::hostile());
    for (name, path) in GATE_PAGES {
        let page = get(&site, path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        for markup in [
            "<script>alert",
            "<script defer src=\"http",
            "onerror=alert(1)>",
        ] {
            assert!(!page.body.contains(markup), "{markup} in {path}");
        }
        let drawings = page.body.split("<svg class=\"chart").skip(1);
        for drawing in drawings.filter_map(|rest| rest.split("</svg>").next()) {
            assert!(
                !drawing.contains(['\u{0}', '\u{202e}', '\u{ffff}']),
                "{path}"
            );
        }
        if ["gate", "series"].contains(&name) {
            insta::assert_snapshot!(format!("hostile_{name}"), settled(&page.body));
        }
    }
}

#[tokio::test]
async fn every_link_of_every_page_leads_somewhere() {
    for api in [
        sample::plain(),
        sample::priced(),
        sample::engines(),
        sample::joules(true),
        sample::empty(),
    ] {
        let site = site(api);
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<(String, String)> =
            vec![("/".to_owned(), "the address bar".to_owned())];
        while let Some((path, from)) = waiting.pop() {
            if !seen.insert(path.clone()) {
                continue;
            }
            assert!(seen.len() < 500, "the crawl does not end");
            let page = get(&site, &path).await;
            assert!(
                page.status.is_success() || page.status.is_redirection(),
                "{path}, linked from {from}: {}",
                page.status
            );
            assert!(
                !page.body.contains("style=\""),
                "{path} has an inline style"
            );
            if page.content_type.starts_with("text/html") {
                for anchor in anchors(&page.body) {
                    let target = get(&site, &anchor.0).await;
                    assert!(
                        target.body.contains(&format!("id=\"{}\"", anchor.1)),
                        "{path} links to {}#{}",
                        anchor.0,
                        anchor.1
                    );
                }
                waiting.extend(links(&page.body).map(|link| (link, path.clone())));
            }
        }
        assert!(seen.contains("/frontier.csv") && seen.contains("/methodology"));
    }
}

fn attributes(body: &str) -> impl Iterator<Item = String> {
    ["href=\"", "action=\"", "src=\""]
        .into_iter()
        .flat_map(|name| {
            body.split(name)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .map(|link| link.replace("&amp;", "&").replace("&#38;", "&"))
                .collect::<Vec<_>>()
        })
}

/// Internal links without their fragment.
fn links(body: &str) -> impl Iterator<Item = String> {
    attributes(body)
        .filter(|link| link.starts_with('/'))
        .map(|link| link.split('#').next().unwrap_or_default().to_owned())
}

fn anchors(body: &str) -> Vec<(String, String)> {
    attributes(body)
        .filter_map(|link| {
            link.split_once('#')
                .map(|(path, id)| (path.to_owned(), id.to_owned()))
        })
        .filter(|(path, _)| path.starts_with('/'))
        .collect()
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again() {
    let site = site(sample::plain());
    for path in ["/", "/frontier.json", "/methodology"] {
        let first = get(&site, path).await;
        assert!(first.tag.starts_with('"'), "{path} has a strong tag");
        assert!(first.cache.contains("max-age=30"));
        let again = get_if_changed(&site, path, &first.tag).await;
        assert_eq!(
            (again.status, again.body.as_str()),
            (StatusCode::NOT_MODIFIED, ""),
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_answer_carries_the_strict_policy() {
    let site = site(sample::plain());
    for path in ["/", "/nothing/here", "/frontier.csv", "/favicon.ico"] {
        let policy = get(&site, path).await.policy;
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe"), "{path}");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_their_digest() {
    let site = site(sample::plain());
    let style = get(&site, &crate::assets::STYLE.path()).await;
    assert!(style.cache.contains("immutable"));
    assert_eq!(
        get(&site, "/static/site.css").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn twins_are_the_apis_bytes() {
    let site = site(sample::plain());
    let csv = get(&site, "/frontier.csv").await;
    assert_eq!(csv.content_type, "text/csv; charset=utf-8");
    assert_eq!(
        csv.body.lines().count(),
        13,
        "a head and 12 rows, as the caption says"
    );
    assert!(get(&site, "/").await.body.contains("12 results"));
    assert_eq!(
        get(&site, "/frontier.json?budget=lots").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        get(&site, "/nothing.json").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn without_collector_and_memory_a_page_says_so_in_words() {
    let site = site(Router::new().fallback(|| async { StatusCode::BAD_GATEWAY }));
    let page = get(&site, "/").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    insta::assert_snapshot!("away", settled(&page.body));
    assert_eq!(
        get(&site, "/methodology").await.status,
        StatusCode::OK,
        "words need no collector"
    );
}

#[tokio::test]
async fn pages_stay_small() {
    for (api, path) in [
        (sample::priced(), "/"),
        (sample::engines(), "/"),
        (sample::engines(), "/results/00000000000000b0"),
        (sample::engines(), "/engines/llama-cpp/0011223344aa"),
        (sample::priced(), "/regressions"),
        (sample::priced(), "/series/candle-decode"),
    ] {
        let page = get(&site(api), path).await;
        assert!(
            page.body.len() < 300_000,
            "{} bytes of {path} before compression",
            page.body.len()
        );
    }
}
