//! Logs on standard error, in plain lines. No telemetry leaves this machine.

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings by default, more with `-v`; `RUST_LOG` overrides.
pub(crate) fn start(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
