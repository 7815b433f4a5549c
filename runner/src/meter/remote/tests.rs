//! Two hosts on one machine: real servers, each with a clock of its own and a known power.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use domain::energy::energy_in_span;
use domain::matrix::{HERE, MachineHost, Machines};
use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use reqwest::blocking::Client;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::*;
use crate::clock::{Clock, RealClock, VirtualClock};
use crate::meter::sampler::Sampler;
use crate::meter::scripted::ScriptedMeter;
use crate::meter::{Meter, Meters};

/// A host that serves its meters until it is dropped.
struct Served {
    runtime: Option<Runtime>,
    url: String,
    desk: Arc<Desk>,
}

impl Served {
    fn new(meters: Vec<Box<dyn Meter>>, token: Option<&str>, clock: Arc<dyn Clock>) -> Self {
        let host = crate::host::survey(std::path::Path::new("/")).host;
        let meters = Meters {
            meters,
            refused: Vec::new(),
            unavailable: None,
        };
        let desk = Arc::new(Desk::new(host, meters, token, clock));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let runtime = Runtime::new().expect("a runtime");
        let app = router(Arc::clone(&desk));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, app).await.expect("it serves");
        });
        Self {
            runtime: Some(runtime),
            url,
            desk,
        }
    }

    fn steady(watts: u64) -> Self {
        let meter = ScriptedMeter::steady(Scope::CpuPkg, watts);
        Self::new(vec![Box::new(meter)], None, Arc::new(RealClock::default()))
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

fn machine(survey: &str, meter: Option<&str>) -> MachineHost {
    MachineHost {
        profile: None,
        survey: survey.to_owned(),
        meter: meter.map(str::to_owned),
        meter_token_file: None,
    }
}

fn along(hosts: Vec<MachineHost>, clock: &Arc<dyn Clock>) -> Along {
    let machines = Machines {
        setup: None,
        interconnect: None,
        split: None,
        hosts,
    };
    Along::of(Some(&machines), clock)
}

fn leader(watts: u64) -> (Arc<dyn Clock>, Sampler) {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let meter = ScriptedMeter::steady(Scope::CpuPkg, watts);
    let sampler = Sampler::spawn(vec![Box::new(meter)], Arc::clone(&clock));
    (clock, sampler)
}

#[test]
fn traces_of_two_hosts_stand_on_the_clock_of_the_record() {
    let (clock, mut sampler) = leader(10);
    // Its clock begins later, so that it is seconds behind.
    clock.sleep(Duration::from_millis(300));
    let other = Served::steady(30);
    sampler.follow(along(
        vec![machine(HERE, None), machine("b.json", Some(&other.url))],
        &clock,
    ));
    assert!(sampler.has_meters());
    let zero_ns = clock.now_ns();
    sampler.start(zero_ns);
    let began_ns = clock.now_ns() - zero_ns;
    sampler.mark();
    clock.sleep(Duration::from_millis(700));
    sampler.mark();
    let ended_ns = clock.now_ns() - zero_ns;
    clock.sleep(Duration::from_millis(200));
    let sampled = sampler.stop();
    assert_eq!(sampled.trouble, None);
    let hosts: Vec<_> = sampled.traces.iter().map(|trace| trace.host).collect();
    assert_eq!(hosts, [0, 1]);
    assert_eq!(sampled.traces[0].clock_error_ns, None);
    assert!(
        sampled.traces[1]
            .clock_error_ns
            .is_some_and(|error| error > 0)
    );
    let seconds = (ended_ns - began_ns) as f64 / 1e9;
    for (trace, watts) in sampled.traces.iter().zip([10.0, 30.0]) {
        let energy = energy_in_span(trace, began_ns, ended_ns).expect("measured");
        let off = (energy.joules.0 - watts * seconds).abs();
        let clock_joules = watts * trace.clock_error_ns.unwrap_or(0) as f64 / 1e9;
        let allowed = energy.error.0 + 2.0 * clock_joules + 0.001 * watts;
        assert!(off <= allowed, "host {}: {off} J of {allowed}", trace.host);
    }
}

#[test]
fn a_host_that_dies_gives_its_reason_and_the_others_stand() {
    let (clock, mut sampler) = leader(10);
    let mut other = Served::steady(30);
    let hosts = vec![machine(HERE, None), machine("b.json", Some(&other.url))];
    sampler.follow(along(hosts, &clock));
    sampler.start(clock.now_ns());
    other.kill();
    sampler.mark();
    let sampled = sampler.stop();
    let [own] = sampled.traces.as_slice() else {
        panic!("the own trace alone: {sampled:?}");
    };
    assert!(own.host == 0 && own.v.len() >= 2);
    let trouble = sampled.trouble.expect("told");
    assert_eq!(trouble.reason, UnavailableReason::Transport);
    assert!(
        trouble.detail.as_str().starts_with("host 1: "),
        "{trouble:?}"
    );
    assert!(
        !trouble.detail.as_str().contains("127.0.0.1"),
        "no address: {trouble:?}"
    );
}

#[test]
fn a_client_machine_adds_nothing_of_its_own() {
    let (clock, mut sampler) = leader(10);
    let served = [Served::steady(20), Served::steady(30)];
    let hosts = served.iter().map(|one| machine("x.json", Some(&one.url)));
    sampler.follow(along(hosts.collect(), &clock));
    sampler.start(clock.now_ns());
    let sampled = sampler.stop();
    let hosts: Vec<_> = sampled.traces.iter().map(|trace| trace.host).collect();
    assert_eq!(hosts, [0, 1]);
    assert!(
        sampled
            .traces
            .iter()
            .all(|trace| trace.clock_error_ns.is_some())
    );
}

#[test]
fn a_session_is_one_at_a_time_and_ends_when_nobody_asks() {
    let clock = Arc::new(VirtualClock::default());
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 20);
    let served = Served::new(vec![Box::new(meter)], None, clock.clone());
    let client = Client::new();
    let post = |path: &str| {
        let answer = client.post(format!("{}/v1/{path}", served.url)).send();
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().expect("JSON"))
    };
    let get = |path: &str| {
        let answer = client.get(format!("{}/v1/{path}", served.url)).send();
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().expect("JSON"))
    };
    let (status, opened) = post("sessions");
    assert_eq!(status, 200);
    let id = opened["session"].as_str().expect("an id");
    let (status, problem) = post("sessions");
    assert_eq!(status, 409, "{problem}");

    clock.advance(Duration::from_secs(10));
    assert_eq!(post(&format!("sessions/{id}/mark")).1["mark"], 1);
    clock.advance(Duration::from_secs(4));
    let between = |from: u32, to: u32| format!("sessions/{id}/joules?from={from}&to={to}");
    assert_eq!(get(&between(0, 1)).0, 409, "not before it is over");
    let (status, stopped) = post(&format!("sessions/{id}/stop"));
    assert_eq!(status, 200);
    assert_eq!(
        post(&format!("sessions/{id}/stop")).1,
        stopped,
        "asked again"
    );
    for (from, to, joules) in [(0, 1, 200.0), (1, 2, 80.0), (0, 2, 280.0)] {
        let (status, answer) = get(&between(from, to));
        assert_eq!(status, 200, "{answer}");
        let key = &answer["keys"][0];
        assert_eq!(key["scope"], "cpu.pkg");
        let found = key["energy_joules"].as_f64().expect("a number");
        assert!((found - joules).abs() < 0.1, "{answer}");
        assert_eq!(key["unavailable"], Value::Null);
    }
    let (_, empty) = get(&between(1, 1));
    assert_eq!(empty["keys"][0]["energy_joules"], Value::Null);
    assert_eq!(empty["keys"][0]["unavailable"], "below-resolution");
    assert_eq!(get(&between(0, 9)).0, 400);

    let (_, second) = post("sessions");
    assert_eq!(
        get(&format!("sessions/{id}")).0,
        404,
        "the first is forgotten"
    );
    let id = second["session"].as_str().expect("an id");
    clock.advance(Duration::from_secs(SESSION_SECONDS - 1));
    assert_eq!(get(&format!("sessions/{id}")).0, 200);
    clock.advance(Duration::from_secs(SESSION_SECONDS + 1));
    served.desk.expire();
    assert_eq!(get(&format!("sessions/{id}")).0, 404);
    assert_eq!(post("sessions").0, 200);
}

#[test]
fn a_token_is_asked_for_and_a_wrong_one_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let (clock, mut sampler) = leader(10);
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 20);
    let served = Served::new(
        vec![Box::new(meter)],
        Some("s3cret"),
        Arc::new(RealClock::default()),
    );
    for (token, hosts) in [("s3cret\n", vec![0, 1]), ("guess", vec![0])] {
        std::fs::write(&file, token).expect("writable");
        let other = MachineHost {
            meter_token_file: Some(file.display().to_string()),
            ..machine("b.json", Some(&served.url))
        };
        sampler.follow(along(vec![machine(HERE, None), other], &clock));
        sampler.start(clock.now_ns());
        let sampled = sampler.stop();
        let found: Vec<_> = sampled.traces.iter().map(|trace| trace.host).collect();
        assert_eq!(found, hosts, "{sampled:?}");
        assert_eq!(sampled.trouble.is_some(), hosts.len() == 1);
    }
}

#[test]
fn what_is_no_meter_server_gives_no_number() {
    let (clock, mut sampler) = leader(10);
    for address in ["http://127.0.0.1:9", "not a url", ""] {
        let hosts = vec![machine(HERE, None), machine("b.json", Some(address))];
        sampler.follow(along(hosts, &clock));
        sampler.start(clock.now_ns());
        let sampled = sampler.stop();
        assert_eq!(sampled.traces.len(), 1);
        let trouble = sampled.trouble.expect("told");
        assert_eq!(trouble.reason, UnavailableReason::Transport, "{address}");
    }
}

#[test]
fn info_names_every_meter_and_its_facts() {
    let served = Served::steady(20);
    let answer = Client::new().get(format!("{}/v1/info", served.url)).send();
    let info: Info = answer.expect("an answer").json().expect("the protocol");
    assert_eq!(info.protocol, PROTOCOL);
    let [meter] = info.meters.as_slice() else {
        panic!("one meter: {info:?}");
    };
    assert_eq!(meter.id.as_str(), "scripted cpu.pkg counter");
    assert_eq!(
        (meter.kind, meter.averaging, meter.update_basis),
        (MeterKind::Counter, Averaging::Instant, UpdateBasis::Assumed)
    );
}
