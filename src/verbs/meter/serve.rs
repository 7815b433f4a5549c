//! `joulemark meter serve`: this host's joules for a leading runner.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use runner::clock::{Clock, RealClock};
use runner::meter::remote::{Desk, router};

use super::{here, tell_what_is_missing};
use crate::cli::MeterServe;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output;
use crate::verbs::{interrupted, service};

/// How often it is looked whether a leader is gone.
const EXPIRY: Duration = Duration::from_secs(30);

/// Longest token file.
const MAX_TOKEN_BYTES: usize = 4_096;

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: MeterServe, config: Config) -> Outcome {
    let token = args.token_file.as_deref().map(token).transpose()?;
    let (host, meters) = here(&config)?;
    tell_what_is_missing(&meters);
    if let Some(why) = &meters.unavailable {
        output::say(&format!("no meter to serve: {}", why.detail));
    }
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let desk = Arc::new(Desk::new(host, meters, token.as_deref(), clock));
    let listener = service::bind(args.listen).await?;
    let (url, stop, server) = service::serve(listener, router(Arc::clone(&desk)))?;
    if token.is_none() && !args.listen.ip().is_loopback() {
        output::say(
            "anyone who reaches this address may read these meters: --token-file FILE asks for a token",
        );
    }
    let served = &desk.info().meters;
    output::say(&format!(
        "serving {} of this host on {url}, unencrypted: for a trusted network only\n\
         in the leader's matrix: hosts = [{{ survey = \"FILE\", meter = \"{url}\" }}]\n\
         stop with Ctrl-C",
        match served.len() {
            1 => "1 meter".to_owned(),
            n => format!("{n} meters"),
        }
    ));
    let watching = tokio::spawn(async move {
        loop {
            tokio::time::sleep(EXPIRY).await;
            let desk = Arc::clone(&desk);
            let _ = tokio::task::spawn_blocking(move || desk.expire()).await;
        }
    });
    interrupted().await?;
    watching.abort();
    drop(stop);
    server.await.or_infrastructure()?;
    Ok(Exit::Fine)
}

fn token(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("failed to read the token in {}", file.display()))
        .or_usage()?;
    let token = text.trim();
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(Failure {
            exit: Exit::Usage,
            error: anyhow::anyhow!(
                "{} holds no token: write one line into it, such as the output of \
                 `openssl rand -hex 32`",
                file.display()
            ),
        });
    }
    Ok(token.to_owned())
}
