//! Shelly plugs and clamps of every generation.
//!
//! `/shelly` tells the generation without a login. From the second on, `Shelly.GetStatus` tells
//! which components meter (`Switch`, `PM1`, `EM1`, `EM`): one is taken, of several the user names
//! one. Power is integrated, the total checks it; the first generation counts in watt-minutes.
//! Documentation: <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch>,
//! <https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/EM> and
//! <https://shelly-api-docs.shelly.cloud/gen1/#shelly-plug-plugs-meter-0>.

use reqwest::Url;
use serde_json::Value;

use super::super::ReadError;
use super::http::Link;
use super::pointer::{Field, Unit, Veto};
use super::tasmota::below;
use super::{Facts, Page};
use crate::clock::Clock;

/// How a kind of component is asked.
struct Component {
    /// Its name in a status, before the colon.
    name: &'static str,
    /// The page of its power, before its number.
    power_page: &'static str,
    power: &'static str,
    /// The same of its total.
    total_page: &'static str,
    total: &'static str,
    total_unit: Unit,
    veto: Veto,
}

/// Components from the second generation on.
const SECOND: [Component; 4] = [
    Component {
        name: "switch",
        power_page: "rpc/Switch.GetStatus?id=",
        power: "/apower",
        total_page: "rpc/Switch.GetStatus?id=",
        total: "/aenergy/total",
        total_unit: Unit::WattHour,
        veto: Veto::Faults("/errors"),
    },
    Component {
        name: "pm1",
        power_page: "rpc/PM1.GetStatus?id=",
        power: "/apower",
        total_page: "rpc/PM1.GetStatus?id=",
        total: "/aenergy/total",
        total_unit: Unit::WattHour,
        veto: Veto::Faults("/errors"),
    },
    Component {
        name: "em1",
        power_page: "rpc/EM1.GetStatus?id=",
        power: "/act_power",
        total_page: "rpc/EM1Data.GetStatus?id=",
        total: "/total_act_energy",
        total_unit: Unit::WattHour,
        veto: Veto::Faults("/errors"),
    },
    Component {
        name: "em",
        power_page: "rpc/EM.GetStatus?id=",
        power: "/total_act_power",
        total_page: "rpc/EMData.GetStatus?id=",
        total: "/total_act",
        total_unit: Unit::WattHour,
        veto: Veto::Faults("/errors"),
    },
];

/// Components of the first generation; plugs count watt-minutes, clamps watt-hours.
const FIRST: [Component; 2] = [
    Component {
        name: "meter",
        power_page: "meter/",
        power: "/power",
        total_page: "meter/",
        total: "/total",
        total_unit: Unit::WattMinute,
        veto: Veto::Flag("/is_valid"),
    },
    Component {
        name: "emeter",
        power_page: "emeter/",
        power: "/power",
        total_page: "emeter/",
        total: "/total",
        total_unit: Unit::WattHour,
        veto: Veto::Flag("/is_valid"),
    },
];

/// The power and the total of a device at `base`; of the component that the user named, if one.
pub(super) fn pages(
    link: &mut Link,
    base: &Url,
    named: Option<&str>,
    clock: &dyn Clock,
) -> Result<Vec<Page>, ReadError> {
    let about = link.get(&below(base, "shelly"), clock)?.body;
    let (kinds, metering, model) = match about.get("gen").and_then(Value::as_u64) {
        Some(_) => {
            let status = link.get(&below(base, "rpc/Shelly.GetStatus"), clock)?.body;
            (SECOND.as_slice(), second(&status), "model")
        }
        None if about.get("type").is_some() => (FIRST.as_slice(), first(&about), "type"),
        None => {
            return Err(ReadError::Transport(
                "it is no Shelly: /shelly tells neither gen nor type".to_owned(),
            ));
        }
    };
    let chosen = choose(&metering, named)?;
    let (kind, number) = chosen.split_once(':').unwrap_or((chosen, ""));
    let component = kinds.iter().find(|known| known.name == kind);
    let component = component.ok_or(ReadError::NotSupported)?;
    let model = about.get(model).and_then(Value::as_str).unwrap_or("device");
    let page = |page: &str, pointer: &str, unit, facts: fn(String) -> Facts| {
        let (path, query) = page.split_once('?').unwrap_or((page, ""));
        let url = if query.is_empty() {
            below(base, &format!("{path}{number}"))
        } else {
            let mut url = below(base, path);
            url.set_query(Some(&format!("{query}{number}")));
            url
        };
        let field = pointer.trim_start_matches('/').replace('/', ".");
        Page {
            url,
            field: Field::new(pointer, unit, Some(component.veto)),
            facts: facts(format!("Shelly {model} {chosen} {field}")),
        }
    };
    Ok(vec![
        page(
            component.power_page,
            component.power,
            Unit::Watt,
            Facts::plug_power,
        ),
        page(
            component.total_page,
            component.total,
            component.total_unit,
            Facts::plug_total,
        ),
    ])
}

/// The one component that meters, or the one that was named.
fn choose<'a>(metering: &'a [String], named: Option<&str>) -> Result<&'a str, ReadError> {
    let all = metering.join(", ");
    match (metering, named) {
        ([], _) => Err(ReadError::NotSupported),
        (_, Some(name)) => {
            let found = metering.iter().find(|one| *one == name);
            found.map(String::as_str).ok_or_else(|| {
                ReadError::Transport(format!("it does not meter {name:?}, but {all}"))
            })
        }
        ([one], None) => Ok(one),
        (_, None) => Err(ReadError::Transport(format!(
            "it meters {all}: name one of them as component in meters.toml"
        ))),
    }
}

/// The components of a status that meter. A relay without a meter has no power field at all.
fn second(status: &Value) -> Vec<String> {
    let components = status.as_object().into_iter().flatten();
    components
        .filter(|(name, state)| {
            let kind = name.split(':').next().unwrap_or_default();
            let known = SECOND.iter().find(|known| known.name == kind);
            known.is_some_and(|known| state.pointer(known.power).is_some())
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// The meters that the first generation says it has.
fn first(about: &Value) -> Vec<String> {
    /// No device has more.
    const MOST: u64 = 16;
    let count = |key| {
        about
            .get(key)
            .and_then(Value::as_u64)
            .unwrap_or(0)
            .min(MOST)
    };
    let clamps = (0..count("num_emeters")).map(|n| format!("emeter:{n}"));
    let meters = (0..count("num_meters")).map(|n| format!("meter:{n}"));
    clamps.chain(meters).collect()
}
