//! `joulemark meter`: what the power meters say, live, recorded, or to another host's runner.

mod replay;
mod serve;
mod watch;

use std::path::Path;

use domain::record::Host;
use runner::meter::{self, Meters};

use crate::cli::Meter;
use crate::config::Config;
use crate::exit::{Failure, Outcome};
use crate::output;

/// Does what was typed.
pub(crate) async fn run(verb: Meter, config: Config) -> Outcome {
    match verb {
        Meter::Watch(args) => watch::run(args, config).await,
        Meter::Replay(args) => replay::run(&args),
        Meter::Serve(args) => serve::run(args, config).await,
    }
}

/// This machine and its meters.
fn here(config: &Config) -> Result<(Host, Meters), Failure> {
    let root = Path::new("/");
    let host = runner::host::survey(root).host;
    let meters = meter::discover(root, &host, &config.meters()?);
    Ok((host, meters))
}

/// Says what is there and cannot be read, and why nothing can be if nothing can.
fn tell_what_is_missing(meters: &Meters) {
    for refusal in &meters.refused {
        let device = refusal.device.as_ref();
        let device = device.map_or_else(String::new, |device| format!(" {device}"));
        output::say(&format!(
            "{}{device}: failed to {}",
            refusal.meter, refusal.error
        ));
    }
}
