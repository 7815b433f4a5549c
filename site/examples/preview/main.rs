//! Serves the site over made-up numbers, to look at pages without measuring anything.
//!
//! `cargo run -p site --example preview -- 8080 plain` with `plain` (one machine, no price, no
//! meter), `priced` (several setups, energy), `joules` (an axis of joules,
//! one scope), `across` (several scopes side by side), `engines` (one model through
//! several engines and workloads), `empty`, `hostile`, or `away` (no collector).
//! The numbers are samples for layout and tests, not measurements.

use std::net::Ipv4Addr;

use axum::Router;
use axum::http::StatusCode;
use site::SiteOptions;
use site::results::Client;

mod sample;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments
        .next()
        .and_then(|port| port.parse::<u16>().ok())
        .unwrap_or(8080);
    let scene = arguments.next().unwrap_or_else(|| "plain".to_owned());
    let api = match scene.as_str() {
        "priced" => sample::priced(),
        "joules" => sample::joules(false),
        "across" => sample::joules(true),
        "engines" => sample::engines(),
        "empty" => sample::empty(),
        "hostile" => sample::hostile(),
        "away" => Router::new().fallback(|| async { StatusCode::SERVICE_UNAVAILABLE }),
        _ => sample::plain(),
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    eprintln!(
        "the {scene} sample is served at http://{}/",
        listener.local_addr()?
    );
    axum::serve(
        listener,
        site::router(Client::in_process(api), SiteOptions::default()),
    )
    .await
}
