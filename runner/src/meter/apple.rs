//! Apple's counters: SMC system power, and the `IOReport` breakdown.
//!
//! The headline is the SMC's `PSTR` (`system.dc`, watts, a new value about every second,
//! everyone may read): the `system` module. `IOReport`'s energy model (`soc.model`, always
//! modelled, never a headline) is its breakdown: the `model` module. macmon's own
//! `Metrics.sys_power` is neither: it is the larger of `PSTR` and the modelled sum, 0.0 where
//! reading failed, and has no time. Virtual machines have neither source.
//!
//! Everything that decides is neutral and tested on traces of the kinds of trouble that are known;
//! only the `macos` module calls macmon (<https://github.com/vladkens/macmon>). Nobody has run that
//! file on a real machine yet.

use std::sync::{Arc, Mutex};

use super::{Found, ReadError, Refusal};
use model::{EnergyModel, Gathered, ModelMeter};
use system::{SystemMeter, SystemPower};

#[cfg(target_os = "macos")]
mod macos;
pub mod model;
pub mod system;

/// What there is.
#[cfg(target_os = "macos")]
pub fn discover() -> Found {
    found(macos::system(), macos::model())
}

/// What there is: nothing but on Apple's system.
#[cfg(not(target_os = "macos"))]
pub fn discover() -> Found {
    Found::default()
}

/// The meters of both sources. A source that is absent is no refusal: the machine has none.
pub fn found(
    system: Result<impl SystemPower + 'static, ReadError>,
    model: Result<impl EnergyModel + 'static, ReadError>,
) -> Found {
    let mut found = Found::default();
    let mut refuse = |meter, error| {
        if error != ReadError::Absent {
            found.refused.push(Refusal {
                meter,
                device: None,
                error,
            });
        }
    };
    match system.and_then(SystemMeter::open) {
        Ok(meter) => found.meters.push(Box::new(meter)),
        Err(error) => refuse("smc", error),
    }
    match model.and_then(Gathered::open) {
        Ok((gathered, parts)) => {
            let gathered = Arc::new(Mutex::new(gathered));
            for part in parts {
                let meter = ModelMeter::new(part, Arc::clone(&gathered));
                found.meters.push(Box::new(meter));
            }
        }
        Err(error) => refuse("ioreport", error),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use domain::energy::keys::keys;
    use domain::scope::Scope;
    use model::Channel;

    #[derive(Debug)]
    struct Watts(f32);

    impl SystemPower for Watts {
        fn watts(&mut self) -> Result<f32, ReadError> {
            Ok(self.0)
        }
    }

    #[derive(Debug)]
    struct Channels(Vec<&'static str>);

    impl EnergyModel for Channels {
        fn deltas(&mut self) -> Result<Vec<Channel>, ReadError> {
            let channel = |name: &&str| Channel {
                group: "Energy Model".to_owned(),
                channel: (*name).to_owned(),
                unit: "mJ".to_owned(),
                delta: 1,
            };
            Ok(self.0.iter().map(channel).collect())
        }
    }

    #[test]
    fn the_smc_is_the_headline_and_the_model_never_is() {
        let channels = Channels(vec!["CPU Energy", "GPU Energy", "DRAM"]);
        let found = found(Ok(Watts(21.5)), Ok(channels));
        assert!(found.refused.is_empty());
        let devices: Vec<_> = found
            .meters
            .iter()
            .map(|meter| (meter.info().device.as_str(), meter.info().scope))
            .collect();
        assert_eq!(
            devices,
            [
                ("PSTR", Scope::SystemDc),
                ("cpu", Scope::SocModel),
                ("gpu", Scope::SocModel),
                ("dram", Scope::SocModel),
            ]
        );
        let seats: Vec<_> = found
            .meters
            .iter()
            .map(|meter| meter.info().seat(0))
            .collect();
        let folder = tempfile::tempdir().expect("a folder");
        let host = crate::host::survey(folder.path()).host;
        let keys = keys(&seats, &[host]);
        assert_eq!(keys.len(), 1);
        assert_eq!(
            (keys[0].scope.to_string().as_str(), &keys[0].meters),
            ("system.dc", &vec![0])
        );
    }

    #[test]
    fn a_source_that_is_absent_is_silent_and_one_that_fails_is_told() {
        let absent = || Err::<Watts, _>(ReadError::Absent);
        let none = found(absent(), Err::<Channels, _>(ReadError::Absent));
        assert!(none.meters.is_empty() && none.refused.is_empty());
        let dead = found(Ok(Watts(0.0)), Ok(Channels(vec!["ECPU", "AMCC"])));
        assert!(dead.meters.is_empty());
        let told: Vec<_> = dead.refused.iter().map(|refusal| refusal.meter).collect();
        assert_eq!(told, ["smc"], "a model without a known part is absent");
        let lost = ReadError::Transport("lost".to_owned());
        let failed = found(Err::<Watts, _>(lost.clone()), Err::<Channels, _>(lost));
        assert_eq!(failed.refused.len(), 2);
    }

    #[test]
    fn elsewhere_there_is_nothing_of_apple() {
        if cfg!(target_os = "macos") {
            // Machines and their virtual likes differ; nothing that is found may read as 0.
            for mut meter in discover().meters {
                let read = meter.read(&VirtualClock::default());
                assert!(read.is_err() || read.is_ok_and(|reading| reading.value > 0));
            }
        } else {
            let found = discover();
            assert!(found.meters.is_empty() && found.refused.is_empty());
        }
    }
}
