//! Vendors' answers from a local server: as documented, and in every way that they go wrong.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use digest_auth::{AuthContext, AuthorizationHeader};
use domain::energy::energy_in_span;
use domain::record::{MeterTrace, UnavailableReason};
use domain::scope::Scope;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::pointer::{Stamp, Unit, UnitFrom, Veto};
use super::*;
use crate::meter;

/// A local server that answers until it is dropped.
struct Server {
    address: String,
    _runtime: Runtime,
}

/// What it answers, after how long.
struct Says {
    status: u16,
    body: String,
    headers: Vec<(header::HeaderName, String)>,
    after: Duration,
}

impl Says {
    fn json(body: &Value) -> Self {
        Self::text(200, &body.to_string())
    }

    fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.to_owned(),
            headers: Vec::new(),
            after: Duration::ZERO,
        }
    }

    fn nothing() -> Self {
        Self::text(404, "Not Found")
    }
}

/// Serves what `answer` makes of a path with query and the headers.
fn serve(answer: impl Fn(&str, &HeaderMap) -> Says + Send + Sync + 'static) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let answer = Arc::new(answer);
    let handler = move |uri: Uri, headers: HeaderMap| {
        let answer = Arc::clone(&answer);
        async move {
            let path = uri.path_and_query().map_or("", |path| path.as_str());
            let says = answer(path, &headers);
            tokio::time::sleep(says.after).await;
            let status = StatusCode::from_u16(says.status).expect("a status");
            let mut response: Response = (status, says.body).into_response();
            for (name, value) in says.headers {
                let value = value.parse().expect("a header");
                response.headers_mut().insert(name, value);
            }
            response
        }
    };
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    runtime.spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    Server {
        address,
        _runtime: runtime,
    }
}

/// A meter of one entry, whose URL is the server's with `path` behind it.
fn found(server: &Server, path: &str, entry: &str) -> Found {
    let url = format!("{}{path}", server.address);
    let text = format!("[[meter]]\nname = \"desk\"\nurl = \"{url}\"\n{entry}\n");
    discover(&MetersFile::parse("meters.toml", &text).expect("a good file"))
}

/// The values of what was found, in order, each read once more.
fn read_all(found: &mut Found) -> Vec<u64> {
    let clock = RealClock::default();
    let read = |meter: &mut Box<dyn Meter>| {
        let reading = meter.read(&clock).expect("a reading");
        assert!(reading.before_ns <= reading.after_ns);
        assert_eq!(reading.source_ns, None);
        reading.value
    };
    found.meters.iter_mut().map(read).collect()
}

/// Why nothing was found.
fn refusal(found: &Found) -> &ReadError {
    assert!(found.meters.is_empty(), "{:?}", found.meters);
    &found.refused.first().expect("a refusal").error
}

/// <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Shelly#http-endpoint-shelly>
fn about_second() -> Value {
    json!({
        "name": null, "id": "shellyplusplugs-80646fd0a1b2", "mac": "80646FD0A1B2", "slot": 1,
        "model": "SNPL-00112EU", "gen": 2, "fw_id": "20240625-122608/1.3.3-gbdfd9b3",
        "ver": "1.3.3", "app": "PlusPlugS", "auth_en": false, "auth_domain": null
    })
}

/// <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch#status>
fn switch(watts: f64, total_wh: f64) -> Value {
    json!({
        "id": 0, "source": "WS_in", "output": true, "apower": watts, "voltage": 231.8,
        "current": 0.612,
        "aenergy": {
            "total": total_wh, "by_minute": [2338.211, 2340.908, 2341.0], "minute_ts": 1_718_000_040
        },
        "temperature": {"tC": 38.4, "tF": 101.1}
    })
}

/// A second-generation device with these components; `None` is no metering.
fn second(components: Vec<(&'static str, Value)>) -> impl Fn(&str) -> Says + Send + Sync {
    move |path| match path {
        "/shelly" => Says::json(&about_second()),
        "/rpc/Shelly.GetStatus" => {
            let all: serde_json::Map<String, Value> = components
                .iter()
                .map(|(name, state)| ((*name).to_owned(), state.clone()))
                .collect();
            Says::json(&Value::Object(all))
        }
        _ => {
            // `/rpc/EM1Data.GetStatus?id=1` is the status of `em1data:1`.
            let asked = path
                .strip_prefix("/rpc/")
                .and_then(|rest| rest.split_once(".GetStatus?id="))
                .map(|(kind, id)| format!("{}:{id}", kind.to_lowercase()));
            let state = components
                .iter()
                .find(|(name, _)| Some(*name) == asked.as_deref());
            state.map_or_else(Says::nothing, |(_, state)| Says::json(state))
        }
    }
}

#[test]
fn a_second_generation_plug_gives_power_and_the_total_that_checks_it() {
    let device = second(vec![("switch:0", switch(140.4, 6_532.017))]);
    let server = serve(move |path, _| device(path));
    let mut found = found(
        &server,
        "",
        "kind = \"shelly\"\ncovers = \"PC without screen\"",
    );
    assert_eq!(found.refused, []);
    assert_eq!(read_all(&mut found), [140_400_000, 23_515_261_200_000]);
    let [power, total] = [found.meters[0].info(), found.meters[1].info()];
    assert_eq!(
        (power.kind, total.kind),
        (MeterKind::Power, MeterKind::Counter)
    );
    assert_eq!((&power.meter, &power.device), (&total.meter, &total.device));
    for info in [power, total] {
        assert_eq!((info.scope, info.reach), (Scope::WallAc, Reach::Network));
        let published = format!("{} {} {}", info.meter, info.device, info.origin);
        for secret in ["127.0.0.1", "80646", "http"] {
            assert!(!published.to_lowercase().contains(secret), "{published}");
        }
    }
    assert_eq!(
        power.origin.as_str(),
        "Shelly SNPL-00112EU switch:0 apower; covers PC without screen"
    );
}

#[test]
fn of_several_metering_components_the_user_names_one() {
    let relay = json!({"id": 1, "source": "init", "output": false, "temperature": {"tC": 41.0}});
    // <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/PM1#status>
    let pm1 = json!({
        "id": 0, "voltage": 230.1, "current": 0.2, "apower": 44.5, "freq": 50.0,
        "aenergy": {"total": 10.5, "by_minute": [0.0, 0.0, 0.0], "minute_ts": 1_718_000_040},
        "ret_aenergy": {"total": 0.0, "by_minute": [0.0, 0.0, 0.0], "minute_ts": 1_718_000_040}
    });
    // <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/EM1#status>
    let em1 = json!({
        "id": 1, "current": 2.598, "voltage": 234.9, "act_power": 501.8, "aprt_power": 612.4,
        "pf": 0.84, "freq": 50, "calibration": "factory"
    });
    let em1data = json!({"id": 1, "total_act_energy": 2_000.0, "total_act_ret_energy": 0.0});
    // <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/EM#status>
    let em = json!({
        "id": 0, "a_act_power": 100.0, "b_act_power": 20.0, "c_act_power": 3.5,
        "total_current": 0.6, "total_act_power": 123.5, "total_aprt_power": 150.0
    });
    let emdata = json!({"id": 0, "total_act": 3_000.5, "total_act_ret": 0.0});
    let all = [
        ("em1:1", em1),
        ("em1data:1", em1data),
        ("em:0", em),
        ("emdata:0", emdata),
        ("pm1:0", pm1),
        ("switch:1", relay),
        ("sys", json!({"uptime": 12})),
    ];
    let device = second(all.to_vec());
    let server = serve(move |path, _| device(path));
    let unnamed = found(&server, "", "kind = \"shelly\"");
    let ReadError::Transport(what) = refusal(&unnamed) else {
        panic!("{unnamed:?}");
    };
    assert!(
        what.starts_with("it meters em1:1, em:0, pm1:0: name one"),
        "{what}"
    );
    for (component, values) in [
        ("pm1:0", [44_500_000, 37_800_000_000]),
        ("em1:1", [501_800_000, 7_200_000_000_000]),
        ("em:0", [123_500_000, 10_801_800_000_000]),
    ] {
        let entry = format!("kind = \"shelly\"\ncomponent = \"{component}\"");
        let mut found = found(&server, "", &entry);
        assert_eq!(found.refused, []);
        assert_eq!(read_all(&mut found), values, "{component}");
    }
    let wrong = found(&server, "", "kind = \"shelly\"\ncomponent = \"switch:1\"");
    assert!(matches!(refusal(&wrong), ReadError::Transport(_)));
}

#[test]
fn a_relay_without_a_meter_is_not_supported() {
    let device = second(vec![("switch:0", json!({"id": 0, "output": true}))]);
    let server = serve(move |path, _| device(path));
    assert_eq!(
        refusal(&found(&server, "", "kind = \"shelly\"")),
        &ReadError::NotSupported
    );
}

/// <https://shelly-api-docs.shelly.cloud/gen1/#shelly-plug-plugs-meter-0>
fn first(valid: bool) -> impl Fn(&str) -> Says {
    move |path| match path {
        "/shelly" => Says::json(&json!({
            "type": "SHPLG-S", "mac": "AABBCCDDEEFF", "auth": false,
            "fw": "20230913-113421/v1.14.0-gcb84623", "longid": 1, "num_outputs": 1, "num_meters": 1
        })),
        "/meter/0" => Says::json(&json!({
            "power": 65.32, "overpower": 0.0, "is_valid": valid, "timestamp": 1_718_000_041,
            "counters": [64.11, 65.02, 63.9], "total": 438_021
        })),
        _ => Says::nothing(),
    }
}

#[test]
fn a_first_generation_plug_counts_watt_minutes() {
    let server = serve(|path, _| first(true)(path));
    let mut found = found(&server, "", "kind = \"shelly\"");
    assert_eq!(read_all(&mut found), [65_320_000, 438_021 * 60_000_000]);
}

#[test]
fn a_plug_that_calls_its_reading_invalid_gives_none() {
    let server = serve(|path, _| first(false)(path));
    let found = found(&server, "", "kind = \"shelly\"");
    assert!(matches!(refusal(&found), ReadError::Implausible(_)));
}

/// A second-generation device behind a login: <https://www.rfc-editor.org/rfc/rfc7616>, with
/// SHA-256. A nonce serves `uses` requests.
fn guarded(uses: u32, requests: Arc<AtomicU64>) -> impl Fn(&str, &HeaderMap) -> Says {
    let device = second(vec![("switch:0", switch(12.5, 1.0))]);
    let issued = Mutex::new((0_u32, 0_u32));
    move |path, headers| {
        requests.fetch_add(1, Ordering::Relaxed);
        let mut issued = issued.lock().expect("no panic holds it");
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let is_right = given.is_some_and(|given| {
            let mut theirs = AuthorizationHeader::parse(given).expect("a digest header");
            let response = theirs.response.clone();
            theirs.digest(&AuthContext::new("admin", "tea for two", path));
            response == theirs.response && theirs.nonce == issued.0.to_string()
        });
        if path == "/shelly" || (is_right && issued.1 > 0) {
            issued.1 = issued.1.saturating_sub(u32::from(is_right));
            return device(path);
        }
        *issued = (issued.0 + 1, uses);
        let challenge = format!(
            "Digest qop=\"auth\", realm=\"shellyplusplugs-80646fd0a1b2\", nonce=\"{}\", \
             algorithm=SHA-256",
            issued.0
        );
        Says {
            headers: vec![(header::WWW_AUTHENTICATE, challenge)],
            ..Says::text(401, "")
        }
    }
}

fn secret_file(folder: &Path, secret: &str) -> String {
    let path = folder.join("secret");
    std::fs::write(&path, format!("{secret}\n")).expect("written");
    path.display().to_string()
}

#[test]
fn a_digest_login_is_made_and_remembered_while_its_nonce_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = secret_file(folder.path(), "tea for two");
    for (uses, expected) in [(1_000, 10), (1, 20)] {
        let requests = Arc::new(AtomicU64::new(0));
        let server = serve(guarded(uses, Arc::clone(&requests)));
        let entry = format!("kind = \"shelly\"\npassword_file = \"{file}\"");
        let mut found = found(&server, "", &entry);
        assert_eq!(found.refused, []);
        requests.store(0, Ordering::Relaxed);
        let clock = RealClock::default();
        for _ in 0..10 {
            let reading = found.meters[0].read(&clock).expect("a reading");
            assert_eq!(reading.value, 12_500_000);
        }
        let made = requests.load(Ordering::Relaxed);
        // The other reader's login may have taken the nonce in between.
        assert!((expected..=expected + 1).contains(&made), "{made} requests");
    }
}

#[test]
fn a_wrong_password_is_told_with_the_fix_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = secret_file(folder.path(), "hunter2 hunter2");
    let server = serve(guarded(1, Arc::default()));
    let entry = format!("kind = \"shelly\"\npassword_file = \"{file}\"");
    let wrong = found(&server, "", &entry);
    assert_eq!(refusal(&wrong), &http::login());
    let none = found(&server, "", "kind = \"shelly\"");
    assert_eq!(refusal(&none), &http::login());
    let link = Link::new(&http::Access::Password {
        user: "admin".to_owned(),
        file: file.into(),
    })
    .expect("a link");
    assert!(!format!("{link:?}{wrong:?}").contains("hunter2"));
    let missing = format!(
        "kind = \"shelly\"\npassword_file = \"{}/none\"",
        folder.path().display()
    );
    let missing = found(&server, "", &missing);
    let text = refusal(&missing).to_string();
    assert!(text.contains("password or token file"), "{text}");
    assert!(!text.contains(&*folder.path().to_string_lossy()), "{text}");
}

/// <https://tasmota.github.io/docs/Commands/#with-web-requests>: `Status 10`.
fn tasmota(power: &Value) -> Value {
    json!({"StatusSNS": {
        "Time": "2026-03-01T12:00:00",
        "ENERGY": {
            "TotalStartTime": "2024-01-01T00:00:00", "Total": 12.345, "Yesterday": 0.5,
            "Today": 0.25, "Power": power, "ApparentPower": 110, "ReactivePower": 46,
            "Factor": 0.91, "Voltage": 230, "Current": 0.478
        }
    }})
}

#[test]
fn a_tasmota_plug_is_read_and_its_login_goes_in_the_query() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(|path, _| match path {
        "/cm?cmnd=Status+10&user=admin&password=a%26b+c" => Says::json(&tasmota(&json!(100))),
        _ => Says::json(&json!({"WARNING": "Need user=<username>&password=<password>"})),
    });
    for (secret, reads) in [("a&b c", true), ("a", false)] {
        let file = secret_file(folder.path(), secret);
        let entry = format!("kind = \"tasmota\"\npassword_file = \"{file}\"");
        let mut found = found(&server, "", &entry);
        if reads {
            assert_eq!(read_all(&mut found), [100_000_000, 44_442_000_000_000]);
        } else {
            assert_eq!(refusal(&found), &http::login());
        }
    }
}

#[test]
fn a_plug_with_several_channels_is_read_by_pointer_only() {
    let server = serve(|_, _| Says::json(&tasmota(&json!([3, 97]))));
    let several = found(&server, "", "kind = \"tasmota\"");
    assert!(
        several
            .refused
            .iter()
            .any(|one| one.error == ReadError::Implausible("a list".to_owned()))
    );
    let entry = "kind = \"json\"\nscope = \"wall.ac\"\nunit = \"W\"\n\
                 pointer = \"/StatusSNS/ENERGY/Power/1\"";
    let mut one = found(&server, "/cm?cmnd=Status%2010", entry);
    assert_eq!(read_all(&mut one), [97_000_000]);
}

/// <https://developers.home-assistant.io/docs/api/rest/>: `GET /api/states/<entity_id>`.
fn home_assistant(state: &str, unit: &str) -> Value {
    json!({
        "entity_id": "sensor.desk_plug_power", "state": state,
        "attributes": {
            "state_class": "measurement", "unit_of_measurement": unit, "device_class": "power",
            "friendly_name": "Desk plug power"
        },
        "last_changed": "2026-03-01T11:59:57.123456+00:00",
        "last_reported": "2026-03-01T12:00:00.000000+00:00",
        "last_updated": "2026-03-01T11:59:57.123456+00:00",
        "context": {"id": "01HQ", "parent_id": null, "user_id": null}
    })
}

const HOME_ASSISTANT: &str = "kind = \"json\"\nscope = \"wall.ac\"\npointer = \"/state\"\n\
     unit_pointer = \"/attributes/unit_of_measurement\"\naveraging = \"held\"";

#[test]
fn home_assistant_says_its_unit_and_wants_its_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let unit = Arc::new(Mutex::new(("140.4", "W")));
    let said = Arc::clone(&unit);
    let server = serve(move |path, headers| {
        let token = headers
            .get(header::AUTHORIZATION)
            .map(header::HeaderValue::as_bytes);
        if token != Some(b"Bearer long.lived") {
            return Says::text(401, "401: Unauthorized");
        }
        let (state, unit) = *said.lock().expect("no panic holds it");
        match path {
            "/api/states/sensor.desk_plug_power" => Says::json(&home_assistant(state, unit)),
            _ => Says::text(404, "{\"message\":\"Entity not found.\"}"),
        }
    });
    let path = "/api/states/sensor.desk_plug_power";
    assert_eq!(
        refusal(&found(&server, path, HOME_ASSISTANT)),
        &http::login()
    );
    let file = secret_file(folder.path(), "long.lived");
    let entry = format!("{HOME_ASSISTANT}\ntoken_file = \"{file}\"");
    let mut found = found(&server, path, &entry);
    assert_eq!(read_all(&mut found), [140_400_000]);
    assert_eq!(found.meters[0].info().averaging, Averaging::Held);
    let clock = RealClock::default();
    for (now, expected) in [
        (("0.1404", "kW"), Ok(140_400_000)),
        (("0", "W"), Ok(0)),
        (("unavailable", "W"), Err(ReadError::Absent)),
        (("unknown", "W"), Err(ReadError::Absent)),
        (("", "W"), Err(ReadError::Absent)),
        (
            ("140.4", "kWh"),
            Err(ReadError::Implausible("a unit of kWh now".to_owned())),
        ),
        (
            ("140,4", "W"),
            Err(ReadError::Implausible("140,4".to_owned())),
        ),
    ] {
        *unit.lock().expect("no panic holds it") = now;
        let read = found.meters[0].read(&clock).map(|reading| reading.value);
        assert_eq!(read, expected, "{now:?}");
    }
}

#[test]
fn prometheus_quotes_its_value_and_an_empty_result_is_no_value() {
    // <https://prometheus.io/docs/prometheus/latest/querying/api/#instant-queries>
    let full = Arc::new(Mutex::new(true));
    let is_full = Arc::clone(&full);
    let server = serve(move |_, _| {
        let series = json!({
            "metric": {"__name__": "shelly_power_watts", "instance": "desk"},
            "value": [1_772_366_400.781, "139.9"]
        });
        let full = *is_full.lock().expect("no panic holds it");
        let result = if full { vec![series] } else { Vec::new() };
        Says::json(&json!({
            "status": "success", "data": {"resultType": "vector", "result": result}
        }))
    });
    let entry = "kind = \"json\"\nscope = \"wall.ac\"\nunit = \"W\"\n\
                 pointer = \"/data/result/0/value/1\"";
    let mut found = found(&server, "/api/v1/query?query=shelly_power_watts", entry);
    assert_eq!(read_all(&mut found), [139_900_000]);
    *full.lock().expect("no panic holds it") = false;
    let read = found.meters[0].read(&RealClock::default());
    assert!(matches!(read, Err(ReadError::Transport(_))), "{read:?}");
}

#[test]
fn whatever_is_no_answer_is_a_refusal_in_words() {
    type Spoil = fn(&str) -> Says;
    let entry = "kind = \"json\"\nscope = \"wall.ac\"\nunit = \"W\"\npointer = \"/power\"";
    let good = json!({"power": 5}).to_string();
    let cases: [(Spoil, &str); 6] = [
        (
            |good| Says {
                after: http::LIMIT * 2,
                ..Says::text(200, good)
            },
            "no answer within 2 s",
        ),
        (|good| Says::text(500, good), "HTTP status 500"),
        (|good| Says::text(404, good), "HTTP status 404"),
        (
            |good| Says {
                headers: vec![(header::LOCATION, "/elsewhere".to_owned())],
                ..Says::text(302, good)
            },
            "HTTP status 302",
        ),
        (
            |_| Says::text(200, "<!doctype html><title>Log in</title>"),
            "no JSON",
        ),
        (
            |good| Says::text(200, &format!("{good}{}", " ".repeat(http::MAX_BYTES))),
            "longer than",
        ),
    ];
    for (says, expected) in cases {
        let body = good.clone();
        let server = serve(move |_, _| says(&body));
        let found = found(&server, "/now", entry);
        let text = refusal(&found).to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("127.0.0.1"), "{text}");
        assert_eq!(refusal(&found).reason(), UnavailableReason::Transport);
    }
    let gone = serve(|_, _| Says::nothing()).address;
    let text = format!("[[meter]]\nname = \"desk\"\nurl = \"{gone}\"\n{entry}\n");
    let found = discover(&MetersFile::parse("meters.toml", &text).expect("a good file"));
    let text = refusal(&found).to_string();
    assert!(text.contains("no connection"), "{text}");
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_meter_that_closes_kept_connections_when_asked_again_is_read_on() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let reads = 20;
    // One connection to find it, one for each reading.
    let device = thread::spawn(move || {
        for watts in 0..=reads {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut heard = Vec::new();
            let mut byte = [0];
            while !heard.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                heard.push(byte[0]);
            }
            let body = json!({"w": watts}).to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).expect("written");
            // The next request, or the end, is heard and not answered.
            let _ = stream.read(&mut byte);
        }
    });
    let text = format!(
        "[[meter]]\nname = \"desk\"\nkind = \"json\"\nscope = \"wall.ac\"\nunit = \"W\"\n\
         pointer = \"/w\"\nurl = \"{address}\"\n"
    );
    let mut found = discover(&MetersFile::parse("meters.toml", &text).expect("a good file"));
    let clock = RealClock::default();
    for watts in 1..=reads {
        let reading = found.meters[0].read(&clock).expect("a reading");
        assert_eq!(reading.value, watts * 1_000_000);
    }
    drop(found);
    device.join().expect("the device answered every request");
}

#[test]
fn a_broken_meter_spoils_no_other_and_is_named() {
    let device = second(vec![("switch:0", switch(9.0, 1.0))]);
    let server = serve(move |path, _| device(path));
    let text = format!(
        "[[meter]]\nname = \"desk\"\nkind = \"shelly\"\nurl = \"{0}\"\n\
         [[meter]]\nname = \"board\"\nkind = \"json\"\nscope = \"system.dc\"\nunit = \"W\"\n\
         pointer = \"/w\"\nurl = \"{0}/none\"\n",
        server.address
    );
    let found = discover(&MetersFile::parse("meters.toml", &text).expect("a good file"));
    assert_eq!(found.meters.len(), 2);
    let refused: Vec<_> = found
        .refused
        .iter()
        .map(|one| (one.meter, one.device.as_ref().map(Name::as_str)))
        .collect();
    assert_eq!(refused, [("json", Some("board"))]);
}

#[test]
fn meters_are_found_and_dropped_within_an_asynchronous_program() {
    let device = second(vec![("switch:0", switch(9.0, 1.0))]);
    let server = serve(move |path, _| device(path));
    let runtime = Runtime::new().expect("a runtime");
    let count = runtime.block_on(async {
        let found = found(&server, "", "kind = \"shelly\"");
        found.meters.len()
    });
    assert_eq!(count, 2);
}

#[test]
fn a_counter_that_is_reset_in_a_run_gives_no_joules() {
    let total = Arc::new(Mutex::new(5_000.0));
    let counted = Arc::clone(&total);
    let server = serve(move |_, _| Says::json(&json!({"total": *counted.lock().expect("whole")})));
    let entry = "kind = \"json\"\nscope = \"wall.ac\"\nunit = \"Wh\"\npointer = \"/total\"";
    let mut found = found(&server, "", entry);
    let clock = RealClock::default();
    let mut v = Vec::new();
    for value in [5_000.0, 5_001.0, 0.0, 1.0] {
        *total.lock().expect("whole") = value;
        v.push(found.meters[0].read(&clock).expect("a reading").value);
    }
    let trace = trace_of(found.meters[0].info(), v);
    let whole = energy_in_span(&trace, 0, 180_000_000_000);
    assert_eq!(
        whole.map(|span| span.joules.0),
        Err(UnavailableReason::Reset)
    );
}

/// A trace with a reading a minute.
fn trace_of(info: &meter::MeterInfo, v: Vec<u64>) -> MeterTrace {
    MeterTrace {
        meter: info.meter.clone(),
        host: 0,
        device: info.device.clone(),
        scope: info.scope,
        used: true,
        kind: info.kind,
        averaging: info.averaging,
        window_ns: info.window_ns,
        update_ns: info.update_ns,
        update_basis: info.update_basis,
        wrap_uj: info.wrap_uj,
        sensor_ppm: info.sensor_ppm,
        origin: info.origin.clone(),
        clock_error_ns: None,
        t_ns: (0..v.len() as u64).map(|n| n * 60_000_000_000).collect(),
        latency_ns: vec![1_000_000; v.len()],
        source_t_ns: None,
        v,
    }
}

fn field(unit: Unit) -> Field {
    Field::new("/v", unit, None)
}

#[test]
fn only_a_number_is_a_number() {
    let watts = |v: Value| field(Unit::Watt).value(&json!({"v": v}), 0);
    for (v, expected) in [
        (json!(0), 0),
        (json!(0.0), 0),
        (json!(-0.0), 0),
        (json!("0"), 0),
        (json!(12.5), 12_500_000),
        (json!(" 12.5 "), 12_500_000),
        (json!("1e2"), 100_000_000),
    ] {
        assert_eq!(watts(v.clone()), Ok(expected), "{v}");
    }
    assert_eq!(watts(Value::Null), Err(ReadError::Absent));
    assert_eq!(watts(json!("unavailable")), Err(ReadError::Absent));
    for nonsense in [
        json!("nan"),
        json!("NaN"),
        json!("inf"),
        json!("-infinity"),
        json!("off"),
        json!(-0.1),
        json!(-1),
        json!(5_001),
        json!(true),
        json!([1]),
        json!({"w": 1}),
    ] {
        let read = watts(nonsense.clone());
        assert!(
            matches!(read, Err(ReadError::Implausible(_))),
            "{nonsense}: {read:?}"
        );
    }
    let elsewhere = field(Unit::Watt).value(&json!({"w": 1}), 0);
    assert!(matches!(elsewhere, Err(ReadError::Transport(_))));
}

#[test]
fn every_unit_is_converted() {
    for (unit, expected) in [
        ("mW", 2_000),
        ("W", 2_000_000),
        ("kW", 2_000_000_000),
        ("uJ", 2),
        ("mJ", 2_000),
        ("J", 2_000_000),
        ("Wmin", 120_000_000),
        ("Wh", 7_200_000_000),
        ("kWh", 7_200_000_000_000),
        ("MWh", 7_200_000_000_000_000),
    ] {
        let unit = Unit::try_from(unit.to_owned()).expect("known");
        assert_eq!(unit.to_micro(2.0), Ok(expected));
    }
    assert!(Unit::try_from("VA".to_owned()).is_err());
}

#[test]
fn an_old_page_is_stale_and_one_from_the_future_is_refused() {
    // 2026-03-01T12:00:00Z
    const NOW_MS: u64 = 1_772_366_400_000;
    let field = Field {
        stamp: Some(Stamp {
            pointer: "/at".to_owned(),
            max_age_ms: 10_000,
        }),
        ..field(Unit::Watt)
    };
    for at in [
        json!("2026-03-01T12:00:00.000000+00:00"),
        json!("2026-03-01T13:00:00+01:00"),
        json!(1_772_366_400),
        json!(1_772_366_400.0),
        json!("1772366400"),
        json!(1_772_366_400_000_u64),
    ] {
        let read = |now_ms| field.value(&json!({"v": 3, "at": at}), now_ms);
        assert_eq!(read(NOW_MS), Ok(3_000_000), "{at}");
        assert_eq!(read(NOW_MS + 10_000), Ok(3_000_000), "{at}");
        assert_eq!(read(NOW_MS + 10_001), Err(ReadError::Stale), "{at}");
        let ahead = read(NOW_MS - 10_001);
        assert!(matches!(ahead, Err(ReadError::Implausible(_))), "{at}");
    }
    for at in [json!("yesterday"), json!(null), json!(-1), json!("nan")] {
        let read = field.value(&json!({"v": 3, "at": at}), NOW_MS);
        assert!(read.is_err(), "{at}");
    }
    assert!(field.value(&json!({"v": 3}), NOW_MS).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,60}".prop_map(Value::from),
        "(-?[0-9]{1,12}(\\.[0-9]{1,6})?|nan|inf|unavailable|W|kWh)".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("(v|at|unit|errors|is_valid)", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_page_gives_a_number_that_it_says_or_an_error(
        v in any_json(), at in any_json(), unit in any_json(), errors in any_json(),
        fixed in any::<bool>(), veto in 0..4_u8, now_ms in any::<u64>(), whole in any_json(),
    ) {
        let field = Field {
            pointer: "/v".to_owned(),
            unit: if fixed {
                UnitFrom::Fixed(Unit::Watt)
            } else {
                UnitFrom::Page("/unit".to_owned())
            },
            stamp: (!fixed).then(|| Stamp { pointer: "/at".to_owned(), max_age_ms: 60_000 }),
            veto: match veto {
                0 => None,
                1 => Some(Veto::Flag("/errors")),
                2 => Some(Veto::Faults("/errors")),
                _ => Some(Veto::Login("/errors")),
            },
        };
        let _ = field.value(&whole, now_ms);
        let page = json!({"v": v, "at": at, "unit": unit, "errors": errors});
        if let Ok(value) = field.value(&page, now_ms) {
            let said: f64 = match &v {
                Value::String(text) => text.trim().parse().expect("a number in a text"),
                other => other.as_f64().expect("a number"),
            };
            let unit = field.unit(&page).expect("a unit");
            prop_assert!(said >= 0.0);
            prop_assert_eq!(unit.to_micro(said), Ok(value));
        }
    }

    #[test]
    fn any_text_is_a_file_of_meters_or_an_error(text in "(\\PC|\\n){0,200}") {
        let _ = MetersFile::parse("meters.toml", &text);
    }
}

const SHELLY: &str = "[[meter]]\nname = \"desk\"\nkind = \"shelly\"\nurl = \"http://192.0.2.7\"\n";
const JSON: &str = "[[meter]]\nname = \"rack\"\nkind = \"json\"\nurl = \"http://192.0.2.8/now\"\n";
const NUMBER: &str = "scope = \"system.dc\"\nunit = \"W\"\npointer = \"/w\"\n";

/// The file is refused on this line, in these words.
fn assert_refused(text: &str, line: usize, words: &str) {
    let error = MetersFile::parse("meters.toml", text)
        .expect_err(words)
        .to_string();
    let place = format!("read meters.toml, line {line}, at ");
    assert!(error.starts_with(&place), "{error}\n{text}");
    assert!(error.contains(words), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_bad_entry_is_refused_with_line_key_and_fix() {
    let login = SHELLY.replace("http://", "http://me:secret@");
    for (text, line, words) in [
        (&*login, 4, "user and password_file"),
        (&SHELLY.replace("http://", "mqtt://"), 4, "http:// or"),
        (&SHELLY.replace("http://", ""), 4, "no address"),
        (&SHELLY.replace(".7\"", ".7/?a=b\""), 4, "address alone"),
        (&SHELLY.replace("desk", ""), 2, "name the meter"),
        (&SHELLY.replace("shelly", "fritz"), 3, "tasmota"),
        (&format!("{SHELLY}{SHELLY}"), 6, "named already"),
        (
            &format!("{SHELLY}{}", SHELLY.replace("desk", "rack")),
            6,
            "which one is it?",
        ),
        (&SHELLY.repeat(17), 1, "at most 16"),
    ] {
        assert_refused(text, line, words);
    }
    for (key, words) in [
        ("usr = \"me\"", "did you mean `user`?"),
        ("user = \"me\"", "add password_file"),
        ("pointer = \"/w\"", "take it out"),
        ("scope = \"wall\"", "wall.ac"),
        ("scope = \"system.dc\"", "a plug covers wall.ac"),
    ] {
        assert_refused(&format!("{SHELLY}{key}\n"), 5, words);
    }
}

#[test]
fn a_bad_number_of_a_json_meter_is_refused_with_line_key_and_fix() {
    assert!(MetersFile::parse("meters.toml", &format!("{JSON}{NUMBER}")).is_ok());
    for (from, to, line, words) in [
        ("scope = \"system.dc\"\n", "", 3, "add scope"),
        ("unit = \"W\"\n", "", 3, "unit_pointer"),
        ("pointer = \"/w\"\n", "", 3, "add pointer"),
        ("\"W\"", "\"VA\"", 6, "kWh"),
        ("/w", "w", 7, "begins with /"),
        ("system.dc", "soc.model", 5, "soc.model"),
    ] {
        assert_refused(&format!("{JSON}{}", NUMBER.replace(from, to)), line, words);
    }
    for (key, words) in [
        ("unit_pointer = \"/u\"", "not both"),
        ("component = \"em:0\"", "take it out"),
        ("averaging = \"window\"", "window_seconds"),
        ("max_age_seconds = 5", "timestamp_pointer"),
        ("update_seconds = -1", "over 0"),
        ("update_seconds = nan", "over 0"),
        ("wrap = 5", "counter"),
        ("accuracy_percent = 0", "data sheet"),
        ("token_file = \"t\"\npassword_file = \"p\"", "not both"),
    ] {
        assert_refused(&format!("{JSON}{NUMBER}{key}\n"), 8, words);
    }
}

#[test]
fn power_and_counter_of_one_meter_share_a_name_and_are_never_added() {
    let server = serve(|_, _| Says::json(&json!({"w": 5, "kwh": 1})));
    let entry = |pointer: &str, unit: &str| {
        format!(
            "[[meter]]\nname = \"desk\"\nkind = \"json\"\nscope = \"wall.ac\"\n\
             url = \"{}\"\npointer = \"{pointer}\"\nunit = \"{unit}\"\n",
            server.address
        )
    };
    let text = entry("/w", "W") + &entry("/kwh", "kWh");
    let found = discover(&MetersFile::parse("meters.toml", &text).expect("a good file"));
    let seats: Vec<_> = found.meters.iter().map(|one| one.info().seat(0)).collect();
    assert_eq!(seats.len(), 2);
    assert_eq!(
        (seats[0].meter, seats[0].device, seats[0].scope),
        (seats[1].meter, seats[1].device, seats[1].scope)
    );
    assert_ne!(seats[0].kind, seats[1].kind);
    let twice = entry("/w", "W") + &entry("/v", "mW");
    assert!(MetersFile::parse("meters.toml", &twice).is_err());
}

#[test]
fn every_example_of_the_documentation_is_a_good_file() {
    let text = include_str!("../../../../docs/meters.md");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .filter(|block| block.contains("[[meter]]"))
        .collect();
    assert!(blocks.len() >= 6, "{} examples", blocks.len());
    for block in blocks {
        let parsed = MetersFile::parse("docs/meters.md", block);
        assert!(parsed.is_ok_and(|file| !file.meters.is_empty()), "{block}");
    }
}
