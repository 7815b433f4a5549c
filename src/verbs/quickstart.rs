//! `joulemark quickstart`: everything on this machine, from an empty folder to a frontier.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use domain::api::{Figure, FrontierAnswer, LeftOut, Membership, RecordDetail, ResultRow};
use domain::ids::ContentId;
use domain::matrix::{CellFilter, Matrix};
use domain::record::{self, Audience};
use domain::text::Name;
use reqwest::Client;
use runner::plan::QUICKSTART_MATRIX;
use runner::sweep::SweepReport;

use crate::cli::{Format, Quickstart};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output::{self, Report};
use crate::verbs::interrupted;
use crate::verbs::measuring::{self, Destination, Job};
use crate::verbs::service::{Service, ServiceOptions};
use crate::verbs::submit;

/// Column of [`frontier_report`] that says why a result is not on the chart.
const NOTE: usize = 8;

/// How long the collector may take until what it accepted stands in its answers.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Serves, measures, submits, prints; then serves on until Ctrl-C, or stops.
pub(crate) async fn run(args: Quickstart, config: Config) -> Outcome {
    let matrix = match &args.matrix {
        Some(path) => measuring::read_matrix(path)?,
        None => Matrix::parse("the built-in quickstart matrix", QUICKSTART_MATRIX).or_usage()?,
    };
    output::say("starting PostgreSQL, collector and site");
    let live = Arc::new(AtomicBool::new(true));
    let service = Service::start(
        &config,
        ServiceOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
            database: args.database.clone(),
            allowed_keys: config.allowed_keys(),
            with_site: true,
            live: Arc::clone(&live),
        },
    )
    .await?;
    output::say(&format!(
        "open {} in a browser: it fills as results arrive",
        service.url
    ));
    // Whatever happens from here on, database and server are stopped in order.
    let outcome = measure_and_show(&args, &config, matrix, &service, &live).await;
    live.store(false, Ordering::Relaxed);
    if let (Ok(Exit::Fine | Exit::No), false) = (&outcome, args.exit_when_done) {
        output::say(&format!("serving {} until Ctrl-C", service.url));
        interrupted().await?;
    }
    service.stop().await?;
    outcome
}

async fn measure_and_show(
    args: &Quickstart,
    config: &Config,
    matrix: Matrix,
    service: &Service,
    live: &AtomicBool,
) -> Outcome {
    let job = Job {
        matrix,
        filter: CellFilter::default(),
        fresh: false,
        audience: Audience::Collector(service.collector.audience()),
    };
    let options = measuring::options(config, &args.measuring, job)?;
    service
        .collector
        .allow_key(&options.key.public(), &Name::cleaned("quickstart"))
        .await
        .context("failed to allow this machine's own key")
        .or_infrastructure()?;
    let spool = Arc::clone(&options.spool);
    let destination = Destination {
        url: service.url.clone(),
        audience: service.collector.audience(),
    };
    let (report, drained) = measuring::run(options, &args.measuring, Some(destination)).await?;
    live.store(false, Ordering::Relaxed);
    let submitted = drained.as_ref().map_or(Exit::Fine, submit::tell);

    let missing = not_served(&service.url, &report).await;
    print_frontier(&service.url, args.format).await?;
    for content_id in &missing {
        output::say(&format!(
            "record {content_id} was measured but is not served"
        ));
    }
    let all_served = missing.is_empty() && spool.pending().or_infrastructure()?.is_empty();
    Ok(match (measuring::exit(&report), submitted) {
        (Exit::Fine, Exit::Fine) if !all_served => Exit::Infrastructure,
        (Exit::Fine, submitted) => submitted,
        (measured, _) => measured,
    })
}

async fn print_frontier(url: &str, format: Format) -> Result<(), Failure> {
    let address = match format {
        Format::Csv => format!("{url}/api/v1/frontier.csv"),
        Format::Human | Format::Json | Format::Md => format!("{url}/api/v1/frontier"),
    };
    let body = get(&address).await?;
    match format {
        Format::Json | Format::Csv => output::line(body.trim_end()).or_infrastructure(),
        Format::Human | Format::Md => {
            let answer: FrontierAnswer = serde_json::from_str(&body).or_infrastructure()?;
            frontier_report(&answer, url)
                .print(format)
                .or_infrastructure()
        }
    }
}

/// Records of this sweep that the collector does not serve, after it had [`SERVED_WITHIN`] to take
/// them into its answers. A measured cell is served with its result; a failed one has none.
async fn not_served(url: &str, report: &SweepReport) -> Vec<ContentId> {
    let deadline = Instant::now() + SERVED_WITHIN;
    let before = report
        .finished_before
        .iter()
        .map(|cell| (cell.record, cell.outcome));
    let now = report
        .recorded
        .iter()
        .map(|cell| (cell.content_id, cell.outcome));
    let mut missing: Vec<_> = before.chain(now).collect();
    loop {
        let mut still = Vec::new();
        for (content_id, outcome) in missing {
            if !is_served(url, content_id, outcome).await {
                still.push((content_id, outcome));
            }
        }
        if still.is_empty() || Instant::now() >= deadline {
            return still
                .into_iter()
                .map(|(content_id, _)| content_id)
                .collect();
        }
        missing = still;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn is_served(url: &str, content_id: ContentId, outcome: record::Outcome) -> bool {
    let body = get(&format!("{url}/api/v1/records/{content_id}")).await;
    let detail = body
        .ok()
        .and_then(|body| serde_json::from_str::<RecordDetail>(&body).ok());
    detail.is_some_and(|detail| {
        let has_result = detail.summary.result.is_some();
        detail.signature_valid && (has_result || outcome != record::Outcome::Ok)
    })
}

async fn get(address: &str) -> Result<String, Failure> {
    let ask = async {
        let response = Client::new().get(address).send().await?;
        let status = response.status();
        let body = response.text().await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(anyhow!("it answers {status}"))
        }
    };
    ask.await
        .with_context(|| format!("failed to read {address}"))
        .or_infrastructure()
}

fn frontier_report(answer: &FrontierAnswer, url: &str) -> Report {
    let on_chart = answer.rows.iter().map(row);
    let beside = answer.left_out.iter().map(
        |LeftOut {
             row: left, reason, ..
         }| {
            let mut cells = row(left);
            "beside".clone_into(&mut cells[0]);
            cells[NOTE].clone_from(reason);
            cells
        },
    );
    let mut notes = vec![
        answer.answer.clone(),
        format!(
            "{} measured, {} on the frontier, {} tied, {} without a price",
            answer.measured, answer.on, answer.tied, answer.unpriced
        ),
    ];
    notes.extend(answer.objectives_reason.clone());
    notes.push(format!("{url}/"));
    Report {
        header: vec![
            "frontier",
            "model",
            "weights",
            "engine",
            "quality %",
            "decode tok/s",
            "J per correct",
            "price",
            "note",
        ],
        rows: on_chart.chain(beside).collect(),
        json: serde_json::Value::Null,
        notes,
    }
}

fn row(row: &ResultRow) -> Vec<String> {
    let weights = match row.pruning.as_str() {
        "none" => row.quant.clone(),
        pruning => format!("{}, {pruning} {:.0} %", row.quant, row.pruning_percent),
    };
    let missing = || "not recorded".to_owned();
    vec![
        row.membership.map_or("", Membership::as_str).to_owned(),
        row.model.clone(),
        weights,
        row.engine.clone(),
        row.quality()
            .map_or_else(missing, |figure| with_interval(figure, 100.0, 1)),
        row.decode()
            .map_or_else(missing, |figure| with_interval(figure, 1.0, 0)),
        row.joules_per_correct()
            .map_or_else(missing, |figure| with_interval(figure, 1.0, 3)),
        row.price_usd
            .map_or_else(missing, |usd| format!("${usd:.0}")),
        String::new(),
    ]
}

fn with_interval(figure: Figure, scale: f64, decimals: usize) -> String {
    let value = figure.value * scale;
    match figure.ci95 {
        Some((low, high)) => format!(
            "{value:.decimals$} ({:.decimals$}–{:.decimals$})",
            low * scale,
            high * scale
        ),
        None => format!("{value:.decimals$}"),
    }
}
