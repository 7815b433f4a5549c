//! A `MacBook`'s battery, from the text of `ioreg -rn AppleSmartBattery`.
//!
//! Power is the instantaneous current times the voltage (mA times mV are micro-watts); `ioreg`
//! prints a negative current as the 64-bit number that it wraps to. The gauge tells a new value
//! about every 30 s, so the program is asked once a second at most and its answer stands in
//! between. The energy of the full battery is its charge at the voltage of the moment, within
//! about 8 % of the truth: it serves for hours of use, never for joules. Nobody has run this on a
//! real machine yet; the parser is tested on texts of that program.

use std::process::Command;

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::{Found, Meter, MeterInfo, Reach, ReadError, Reading, Refusal, UPDATE_NS, implausible};
use crate::clock::Clock;
use crate::meter::sysfs;

/// How long an answer stands.
const KEPT_NS: u64 = 1_000_000_000;

/// What the battery says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmartBattery {
    /// Mains is connected.
    pub external: bool,
    /// Power that it gives; `None` while it gives none.
    pub power_uw: Option<u64>,
    /// Energy when full, micro-watt-hours.
    pub full_uwh: Option<u64>,
}

/// Reads the program's text. Refused: a text without a battery, or with values that are none.
pub fn parse(text: &str) -> Result<SmartBattery, ReadError> {
    let field = |key: &str| {
        text.lines().find_map(|line| {
            let line = line.trim_start_matches([' ', '|']);
            let rest = line.strip_prefix('"')?.strip_prefix(key)?;
            Some(rest.strip_prefix("\" = ")?.trim())
        })
    };
    let number = |key: &str| match field(key) {
        None => Ok(None),
        Some(value) => {
            // A negative number may stand as its 64-bit complement.
            let complement = || value.parse::<u64>().ok().map(u64::cast_signed);
            let signed = value.parse::<i64>().ok().or_else(complement);
            signed
                .map(Some)
                .ok_or_else(|| implausible(format!("{key} {value}")))
        }
    };
    let external = match field("ExternalConnected") {
        None => return Err(ReadError::Absent),
        Some("Yes") => true,
        Some("No") => false,
        Some(other) => return Err(implausible(format!("ExternalConnected {other}"))),
    };
    let current_ma = match number("InstantAmperage")? {
        Some(current) => Some(current),
        None => number("Amperage")?,
    };
    let positive =
        |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    let voltage_mv = positive(number("Voltage")?);
    let given_ma = current_ma.filter(|current| *current < 0);
    let times = |amperes: u64, volts: u64| {
        let product = amperes.checked_mul(volts);
        product.ok_or_else(|| implausible(format!("{amperes} mA at {volts} mV")))
    };
    let power_uw = match (given_ma, voltage_mv) {
        (Some(current), Some(volts)) => Some(times(current.unsigned_abs(), volts)?),
        _ => None,
    };
    let full_uwh = match (positive(number("AppleRawMaxCapacity")?), voltage_mv) {
        (Some(charge_mah), Some(volts)) => Some(times(charge_mah, volts)?),
        _ => None,
    };
    Ok(SmartBattery {
        external,
        power_uw,
        full_uwh,
    })
}

/// Asks the system's own program.
pub fn ioreg() -> Result<String, ReadError> {
    let output = Command::new("/usr/sbin/ioreg")
        .args(["-r", "-w0", "-n", "AppleSmartBattery"])
        .output()
        .map_err(|error| sysfs::read_error(&error, super::FIX))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ReadError::Transport(format!("ioreg: {}", output.status)))
    }
}

/// The battery as a meter, asked through `source`; none on a machine without one.
pub fn discover(source: impl FnMut() -> Result<String, ReadError> + Send + 'static) -> Found {
    let mut meter = SmartMeter::new(source);
    let mut found = Found::default();
    match meter.ask() {
        Ok(_) => found.meters.push(Box::new(meter)),
        Err(ReadError::Absent) => {}
        Err(error) => found.refused.push(Refusal {
            meter: "battery",
            device: Some(meter.info.device),
            error,
        }),
    }
    found
}

/// The battery's power.
struct SmartMeter<S> {
    info: MeterInfo,
    source: S,
    kept: Option<(u64, u64)>,
}

impl<S> std::fmt::Debug for SmartMeter<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmartMeter")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl<S: FnMut() -> Result<String, ReadError>> SmartMeter<S> {
    fn new(source: S) -> Self {
        let info = MeterInfo {
            meter: Name::cleaned("battery"),
            device: Name::cleaned("AppleSmartBattery"),
            scope: Scope::Battery,
            kind: MeterKind::Power,
            averaging: Averaging::Unknown,
            window_ns: None,
            update_ns: Some(UPDATE_NS),
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: None,
            origin: Name::cleaned("AppleSmartBattery"),
            privilege: "everyone",
            reach: Reach::Local,
        };
        Self {
            info,
            source,
            kept: None,
        }
    }

    fn ask(&mut self) -> Result<u64, ReadError> {
        let battery = parse(&(self.source)()?)?;
        if battery.external {
            return Err(ReadError::OnMains);
        }
        battery
            .power_uw
            .ok_or_else(|| implausible("0 W while it discharges"))
    }
}

impl<S: FnMut() -> Result<String, ReadError> + Send> Meter for SmartMeter<S> {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || {
            let now_ns = clock.now_ns();
            if let Some((at_ns, value)) = self.kept
                && now_ns.saturating_sub(at_ns) < KEPT_NS
            {
                return Ok(value);
            }
            self.kept = None;
            let value = self.ask()?;
            self.kept = Some((now_ns, value));
            Ok(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// The shape of the program's text, nested lines and all.
    const ON_BATTERY: &str = r#"+-o AppleSmartBattery  <class AppleSmartBattery, id 0x100000447>
    {
      "ExternalConnected" = No
      "IsCharging" = No
      "AppleRawMaxCapacity" = 5000
      "BatteryData" = {"Voltage"=1,"InstantAmperage"=-1,"ExternalConnected"=Yes}
      "Voltage" = 12000
      "InstantAmperage" = 18446744073709550116
      "Amperage" = 18446744073709550000
    }
"#;

    fn battery(external: bool, power_uw: Option<u64>, full_uwh: Option<u64>) -> SmartBattery {
        SmartBattery {
            external,
            power_uw,
            full_uwh,
        }
    }

    #[test]
    fn power_is_current_times_voltage_however_the_sign_is_printed() {
        let full = Some(60_000_000);
        let read = battery(false, Some(18_000_000), full);
        assert_eq!(parse(ON_BATTERY), Ok(read));
        let signed = ON_BATTERY.replace("18446744073709550116", "-1500");
        assert_eq!(parse(&signed), Ok(read));
        let mean = ON_BATTERY.replace("      \"InstantAmperage\" = 18446744073709550116\n", "");
        assert_eq!(parse(&mean), Ok(battery(false, Some(19_392_000), full)));
    }

    #[test]
    fn what_is_not_there_is_not_a_number() {
        assert_eq!(parse(""), Err(ReadError::Absent));
        let charging = ON_BATTERY.replace("18446744073709550116", "1500");
        assert_eq!(parse(&charging).map(|battery| battery.power_uw), Ok(None));
        let flat = ON_BATTERY.replace("= 12000", "= 0");
        assert_eq!(parse(&flat), Ok(battery(false, None, None)));
        for (good, bad) in [
            ("= No\n      \"IsC", "= Maybe\n      \"IsC"),
            ("= 12000", "= 12V"),
            ("= 12000", "= 99999999999999999999"),
        ] {
            let text = ON_BATTERY.replace(good, bad);
            assert!(
                matches!(parse(&text), Err(ReadError::Implausible(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_program_is_asked_once_a_second_and_mains_ends_the_readings() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let text = move || {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            Ok(match nth {
                0..=2 => ON_BATTERY.to_owned(),
                _ => ON_BATTERY.replacen("= No", "= Yes", 1),
            })
        };
        let mut found = discover(text);
        let meter = &mut found.meters[0];
        let clock = VirtualClock::default();
        for _ in 0..20 {
            assert_eq!(
                meter.read(&clock).map(|reading| reading.value),
                Ok(18_000_000)
            );
            clock.advance(Duration::from_millis(100));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        for _ in 0..2 {
            assert_eq!(meter.read(&clock), Err(ReadError::OnMains));
        }
    }

    #[test]
    fn a_mac_on_mains_is_refused_and_one_without_a_battery_says_nothing() {
        let found = discover(|| Ok(ON_BATTERY.replacen("= No", "= Yes", 1)));
        assert_eq!(found.refused[0].error, ReadError::OnMains);
        let none = discover(|| Ok(String::new()));
        assert!(none.meters.is_empty() && none.refused.is_empty());
        let failed = discover(|| Err(ReadError::Transport("ioreg".to_owned())));
        assert_eq!(failed.refused.len(), 1);
    }
}
