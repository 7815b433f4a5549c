//! Connections: accepted within bounds, read with a deadline, drained at the end.
//!
//! `axum::serve` has no deadline for reading a request's head, so that silent connections would
//! stay open for ever; hyper's HTTP/1 builder has one. TLS and HTTP/2 end at a proxy before us.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Connections at once; more are closed at once.
const MAX_CONNECTIONS: usize = 16_384;

/// Connections at once of one address. This machine's own are not counted: a proxy here speaks
/// for many.
const MAX_PER_ADDRESS: u32 = 64;

/// How long a request's head may take, and an idle connection stay.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest request head, and so much of a body is buffered ahead.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// Pause after a connection could not be accepted (no file descriptors left).
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long requests in flight may take to end once the server is to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Serves `router` on `listener` until `shutdown` ends, then lets requests in flight end.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let addresses = Addresses::default();
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            // Finished connections are forgotten as they end.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                    continue;
                }
            },
        };
        let (Ok(room), Some(seat)) = (
            Arc::clone(&room).try_acquire_owned(),
            addresses.take_seat(peer.ip()),
        ) else {
            tracing::debug!("a connection was refused: too many");
            continue;
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        connections.spawn(async move {
            serve_connection(stream, router, stopping).await;
            drop((room, seat));
        });
    }
    drop(listener);
    stop.send_replace(true);
    let drained = tokio::time::timeout(DRAIN_WITHIN, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!("requests that did not end in time were cut off");
    }
}

async fn serve_connection(stream: TcpStream, router: Router, mut stopping: watch::Receiver<bool>) {
    let service = router.map_request(|request: hyper::Request<Incoming>| request.map(Body::new));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that hung up or was too slow: its affair.
        tracing::debug!(%error, "a connection broke off");
    }
}

/// Ends when the server is to stop, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, u32>>>);

/// One connection's place; given back when dropped.
struct Seat {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    fn take_seat(&self, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = taken.entry(address).or_default();
        if *seats >= MAX_PER_ADDRESS && !address.is_loopback() {
            return None;
        }
        *seats += 1;
        Some(Seat {
            addresses: self.clone(),
            address,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self
            .addresses
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(seats) = taken.get_mut(&self.address) {
            *seats -= 1;
            if *seats == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    #[test]
    fn one_address_has_a_bound_and_gets_its_seats_back() {
        let addresses = Addresses::default();
        let away: IpAddr = "192.0.2.1".parse().expect("an address");
        let seats: Vec<_> = (0..MAX_PER_ADDRESS)
            .map(|_| addresses.take_seat(away))
            .collect();
        assert!(seats.iter().all(Option::is_some));
        assert!(addresses.take_seat(away).is_none());
        assert!(
            addresses
                .take_seat("192.0.2.2".parse().expect("an address"))
                .is_some()
        );
        drop(seats);
        assert!(addresses.take_seat(away).is_some());
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_during_a_shutdown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (arrived, in_flight) = oneshot::channel::<()>();
        let (finish, finished) = oneshot::channel::<()>();
        let once = Arc::new(Mutex::new(Some((arrived, finished))));
        let router = Router::new().route(
            "/",
            get(async move || {
                let taken = once.lock().expect("not poisoned").take();
                let (arrived, finished) = taken.expect("one request");
                arrived.send(()).expect("the test waits");
                finished.await.expect("the test lets it finish");
                "done"
            }),
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, router, async {
            stopped.await.expect("the test stops it");
        }));
        let mut client = TcpStream::connect(address).await.expect("served");
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .expect("sent");
        in_flight.await.expect("arrived");
        stop.send(()).expect("it serves");
        finish.send(()).expect("it waits");
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .await
            .expect("answered, then closed");
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        server.await.expect("ended");
    }
}
