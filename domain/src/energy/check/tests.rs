//! Both readers of one scripted device.

use super::*;
use crate::energy::ScopeMeters;
use crate::energy::script::{Counter, ENGINE, MS, S, Scene, sampled};
use crate::record::{AttributionMethod, Averaging, UnavailableReason};
use crate::text::Name;

#[test]
fn a_counter_is_checked_against_the_integral_of_its_power() {
    let mut scene = Scene::new(ENGINE);
    scene.blocks(PhaseKind::PrefillLoop, 1, 30 * S, (512, 1));
    scene.pause(5 * S);
    let counter = Counter::every(20 * MS, 3).read(&scene.power, &scene.marks());
    for (share, verdict) in [
        (1.0, Verdict::Agrees),
        (1.1, Verdict::Warns),
        (1.4, Verdict::Void),
        (0.7, Verdict::Void),
    ] {
        let mut power = sampled(&scene.power, 20 * MS, Averaging::Instant, 0);
        for value in &mut power.v {
            *value = (*value as f64 / share) as u64;
        }
        let record = scene.with_meters(vec![counter.clone(), power], AttributionMethod::Loops);
        let checks = cross_check(&record);
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].verdict, verdict);
        assert!((checks[0].ratio / share - 1.0).abs() < 0.02, "{checks:?}");
        let voided = ScopeMeters::of(&record).map(|_| ());
        let expected = match verdict {
            Verdict::Void => Err(UnavailableReason::Implausible),
            _ => Ok(()),
        };
        assert_eq!(voided, expected);
    }
    // Another device's power is no check.
    let mut other = sampled(&scene.power, 20 * MS, Averaging::Instant, 0);
    other.device = Name::cleaned("package-1");
    let record = scene.with_meters(vec![counter, other], AttributionMethod::Loops);
    assert!(cross_check(&record).is_empty());
}
