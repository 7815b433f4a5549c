//! `joulemark serve`: collector and site on one port.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use crate::cli::Serve;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output;
use crate::verbs::interrupted;
use crate::verbs::service::{self, Service, ServiceOptions};

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: Serve, config: Config) -> Outcome {
    if args.site_only {
        return site_only(args).await;
    }
    let allowed_keys = args.allowed_keys.unwrap_or_else(|| config.allowed_keys());
    let service = Service::start(
        &config,
        ServiceOptions {
            listen: args.listen,
            database: args.database,
            allowed_keys: allowed_keys.clone(),
            with_site: !args.api_only,
            live: Arc::new(AtomicBool::new(false)),
        },
    )
    .await?;
    let what = if args.api_only {
        "the collector's API"
    } else {
        "collector and site"
    };
    output::say(&format!(
        "serving {what} on {}\nkeys that may submit are allowed in {} (one public key a line; `joulemark key show` prints yours)\nstop with Ctrl-C",
        service.url,
        allowed_keys.display(),
    ));
    interrupted().await?;
    output::say("stopping: finishing requests, then the database");
    service.stop().await?;
    Ok(Exit::Fine)
}

async fn site_only(args: Serve) -> Outcome {
    let Some(collector) = args.collector else {
        // clap requires it with --site-only.
        return Err(Failure {
            exit: Exit::Usage,
            error: anyhow::anyhow!("--site-only needs --collector URL"),
        });
    };
    let base = collector
        .parse()
        .with_context(|| format!("failed to read {collector:?} as the collector's URL"))
        .or_usage()?;
    let client = site::results::Client::remote(base).or_usage()?;
    let listener = service::bind(args.listen).await?;
    let (url, stop, server) =
        service::serve(listener, site::router(client, site::SiteOptions::default()))?;
    output::say(&format!(
        "serving the site of {collector} on {url}\nstop with Ctrl-C"
    ));
    interrupted().await?;
    drop(stop);
    server.await.or_infrastructure()?;
    Ok(Exit::Fine)
}
