//! Changes: what is found, where, and what is none. How often chance is taken for one is simulated
//! beside the gate's own rates, in `tests/gate_simulator.rs`.

use super::*;
use statrs::distribution::{ContinuousCDF, Normal};

/// Standard deviation of the noise below, as a logarithm.
const SD: f64 = 0.01;

struct Dice(Resampler);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(Resampler::new([seed; 32]))
    }

    fn normal(&mut self) -> f64 {
        let share = self.0.share() + 0.5 / 4_294_967_296.0;
        Normal::standard().inverse_cdf(share)
    }

    fn iid(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| (SD * self.normal()).exp()).collect()
    }
}

fn shifted(mut values: Vec<f64>, at: usize, by: f64) -> Vec<f64> {
    for value in &mut values[at..] {
        *value *= by.exp();
    }
    values
}

#[test]
fn the_worked_example_of_1995_loses_four_hypotheses() {
    let p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
        0.5719, 0.6528, 0.7590, 1.0000,
    ];
    let fallen = benjamini_hochberg(&p, 0.05);
    assert_eq!(fallen.iter().filter(|fell| **fell).count(), 4);
    assert!(fallen[..4].iter().all(|fell| *fell));
    let mut mixed = p;
    mixed.reverse();
    assert!(
        benjamini_hochberg(&mixed, 0.05)[11..]
            .iter()
            .all(|fell| *fell)
    );
    assert_eq!(benjamini_hochberg(&[0.2], 0.05), [false]);
    assert!(benjamini_hochberg(&[], 0.05).is_empty());
    // A small p above its own limit falls with a larger one that is below its.
    assert_eq!(benjamini_hochberg(&[0.04, 0.045], 0.05), [true, true]);
}

#[test]
fn ranks_are_shared_by_equals_and_sum_to_nothing() {
    assert_eq!(scores(&[3.0, 1.0, 2.0]), [1.0, -1.0, 0.0]);
    assert_eq!(scores(&[5.0, 1.0, 5.0, 0.5]), [1.0, -0.5, 1.0, -1.5]);
    let many = scores(&Dice::new(1).iid(57));
    assert!(many.iter().sum::<f64>().abs() < 1e-9);
}

#[test]
fn a_shift_is_found_where_it_is_and_as_large_as_it_is() {
    let values = shifted(Dice::new(2).iid(60), 40, 0.05);
    let [change] = certified(&values, [1; 32])[..] else {
        panic!("one change: {:?}", certified(&values, [1; 32]))
    };
    assert_eq!((change.at, change.before, change.after), (40, 40, 20));
    assert!((change.shift - 0.05).abs() < 0.01, "{change:?}");
    assert!((change.noise / SD - 1.0).abs() < 0.4, "{change:?}");
    // The best of 999 shuffles is not as good.
    assert!((change.p - 0.001).abs() < 1e-12, "{change:?}");
    let suspected = suspect(&values).expect("a change");
    assert_eq!((suspected.at, suspected.after), (40, 20));
}

#[test]
fn a_suspect_is_looked_for_in_the_last_points_only() {
    let values = shifted(Dice::new(3).iid(200), 50, 0.05);
    assert_eq!(suspect(&values), None);
    assert_eq!(certified(&values, [2; 32]).len(), 1);
    let late = shifted(values, 194, 0.08);
    let found = suspect(&late).expect("six points after");
    assert_eq!((found.at, found.before, found.after), (194, 54, 6));
}

#[test]
fn there_and_back_are_two_changes() {
    let values = shifted(shifted(Dice::new(4).iid(90), 30, 0.04), 60, -0.04);
    let found = certified(&values, [3; 32]);
    let places: Vec<usize> = found.iter().map(|change| change.at).collect();
    assert_eq!(places, [30, 60]);
    assert!(found[0].shift > 0.03 && found[1].shift < -0.03, "{found:?}");
    assert_eq!((found[0].after, found[1].before), (30, 30));
}

#[test]
fn what_is_smaller_than_one_percent_is_not_certified() {
    let values: Vec<f64> = (0..80)
        .map(|at| if at < 40 { 100.0 } else { 100.9 } + f64::from(at % 3) * 0.01)
        .collect();
    assert!(certified(&values, [4; 32]).is_empty());
    assert!(suspect(&values).is_some());
}

#[test]
fn too_few_equal_or_impossible_values_change_nothing() {
    for values in [
        vec![],
        vec![1.0, 1.0, 1.0, 9.0, 9.0, 9.0],
        vec![2.0; 50],
        shifted(vec![f64::NAN; 40], 20, 1.0),
        shifted(vec![-1.0; 40], 20, 1.0),
        shifted(vec![0.0; 40], 20, 1.0),
    ] {
        assert_eq!(suspect(&values), None, "{values:?}");
        assert!(certified(&values, [5; 32]).is_empty());
        assert!(certified_in_chunks(&values, [5; 32]).is_empty());
    }
}

#[test]
fn another_unit_changes_nothing() {
    let values = shifted(Dice::new(6).iid(70), 50, 0.03);
    // A power of two, so that nothing is rounded and no tie is made or broken.
    let scaled: Vec<f64> = values.iter().map(|value| value * 1_024.0).collect();
    let (here, there) = (certified(&values, [6; 32]), certified(&scaled, [6; 32]));
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(&there) {
        assert_eq!((here.at, here.before), (there.at, there.before));
        assert!((here.p - there.p).abs() < 1e-12);
        assert!((here.shift - there.shift).abs() < 1e-9);
    }
}

#[test]
fn backwards_the_best_split_is_mirrored() {
    let test = Test {
        before: SEGMENT,
        after: SEGMENT,
        chunk: 1,
        p: CERTIFIED_P,
    };
    let mut values = shifted(Dice::new(7).iid(50), 20, 0.03);
    let (split, seen) = test.best(&scores(&values)).expect("fifty points");
    values.reverse();
    let (mirrored, same) = test.best(&scores(&values)).expect("fifty points");
    assert_eq!(split + mirrored, 50);
    assert!((seen - same).abs() < 1e-9);
}

#[test]
fn shuffling_keeps_points_and_chunks_together() {
    let scores: Vec<f64> = (0..23).map(f64::from).collect();
    let mut dice = Resampler::new([8; 32]);
    let mut shuffled = scores.clone();
    shuffle(&scores, &mut shuffled, CHUNK, &mut dice);
    assert_ne!(shuffled, scores);
    let mut sorted = shuffled.clone();
    sorted.sort_by(f64::total_cmp);
    assert_eq!(sorted, scores);
    let torn = (shuffled.windows(2))
        .filter(|pair| (pair[1] - pair[0] - 1.0).abs() > 0.1)
        .count();
    assert!(torn <= 4, "{shuffled:?}");
}
