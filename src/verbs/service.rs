//! Database, collector and site in this process, on one port: what `serve` and `quickstart` run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use axum::Router;
use collector::postgres::{ClusterOptions, PrivateCluster};
use collector::{Collector, CollectorOptions};
use domain::tier::Tier;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::cli::Database;
use crate::config::Config;
use crate::exit::{Failure, OrExit as _};
use crate::output;

/// What a caller decides.
#[derive(Debug)]
pub(crate) struct ServiceOptions {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// Where PostgreSQL is.
    pub(crate) database: Database,
    /// The file of allowed keys.
    pub(crate) allowed_keys: PathBuf,
    /// Mount the site, too.
    pub(crate) with_site: bool,
    /// True while a sweep delivers: pages then reload themselves.
    pub(crate) live: Arc<AtomicBool>,
}

/// A running service. [`Service::stop`] drains it, then stops the database.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its address, without a slash at the end.
    pub(crate) url: String,
    /// The collector behind it.
    pub(crate) collector: Collector,
    cluster: Option<PrivateCluster>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Service {
    /// Starts database, collector and server; returns once it accepts connections.
    pub(crate) async fn start(config: &Config, options: ServiceOptions) -> Result<Self, Failure> {
        // The port first: an address in use is found before a database is started.
        let listener = bind(options.listen).await?;
        let catalogue = config.catalogue()?;
        let (cluster, database) = if let Some(url) = options.database.database_url {
            (None, collector::database_address(&url).or_usage()?)
        } else {
            let cluster = start_cluster(config).await?;
            let address = cluster.connect_options();
            (Some(cluster), address)
        };
        let collector_options = CollectorOptions {
            default_tier: Tier::SelfReported,
            allowed_keys: Some(options.allowed_keys),
        };
        let collector = Collector::open(&database, catalogue, collector_options)
            .await
            .context("failed to open the collector")
            .or_infrastructure()?;
        let api = collector::http::router(collector.clone());
        let app = if options.with_site {
            let client = site::results::Client::in_process(api.clone());
            api.merge(site::router(
                client,
                site::SiteOptions { live: options.live },
            ))
        } else {
            api
        };
        let (url, stop, server) = serve(listener, app)?;
        Ok(Self {
            url,
            collector,
            cluster,
            stop,
            server,
        })
    }

    /// Ends what runs: requests first, then the database.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        drop(self.stop);
        self.server
            .await
            .context("the server stopped by a panic")
            .or_infrastructure()?;
        self.collector.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        Ok(())
    }
}

async fn start_cluster(config: &Config) -> Result<PrivateCluster, Failure> {
    config.make_data_folder()?;
    let options = ClusterOptions {
        notice: output::say,
        ..ClusterOptions::default()
    };
    PrivateCluster::start(&config.postgres(), options)
        .await
        .context("failed to start the private PostgreSQL")
        .or_infrastructure()
}

/// A server of `app` alone, without database, until the sender is dropped.
pub(crate) fn serve(
    listener: TcpListener,
    app: Router,
) -> Result<(String, oneshot::Sender<()>, JoinHandle<()>), Failure> {
    let url = format!("http://{}", listener.local_addr().or_infrastructure()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        // Either way, sent or dropped, it is time.
        let _ = stopped.await;
    };
    let server = tokio::spawn(collector::http::serve(listener, app, shutdown));
    Ok((url, stop, server))
}

/// Takes an address to listen on.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .with_context(|| {
            format!("failed to listen on {address}: choose another address, or 0 for a free port")
        })
        .or_infrastructure()
}
