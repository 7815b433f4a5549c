//! Who is not dominated: the one question behind every frontier.
//!
//! Objectives are turned so that more is better. One point dominates another when it is at
//! least as good in every objective and better in one; equal points do not dominate each other.

/// Points that no other dominates. Two objectives are swept in O(n log n); more are compared
/// pairwise.
pub fn non_dominated(points: &[[f64; 3]], objectives: usize) -> Vec<bool> {
    if objectives == 2 {
        return staircase(points);
    }
    points
        .iter()
        .map(|point| {
            !points
                .iter()
                .any(|other| dominates(other, point, objectives))
        })
        .collect()
}

/// Whether `a` is at least as good as `b` in the first `objectives` and better in one.
pub fn dominates(a: &[f64; 3], b: &[f64; 3], objectives: usize) -> bool {
    let pairs = || a.iter().zip(b).take(objectives);
    pairs().all(|(a, b)| a >= b) && pairs().any(|(a, b)| a > b)
}

fn staircase(points: &[[f64; 3]]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_unstable_by(|&i, &j| {
        let (a, b) = (&points[i], &points[j]);
        b[0].total_cmp(&a[0]).then(b[1].total_cmp(&a[1]))
    });
    let mut kept = vec![false; points.len()];
    let mut last: Option<[f64; 3]> = None;
    for index in order {
        let point = points[index];
        // Sorted by falling first objective: a point stays if it climbs in the second, or if
        // it equals the step that was kept last.
        let stays = last.is_none_or(|step| {
            point[1] > step[1] || (same(point[0], step[0]) && same(point[1], step[1]))
        });
        if stays {
            kept[index] = true;
            last = Some(point);
        }
    }
    kept
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(count: usize) -> impl Strategy<Value = Vec<[f64; 3]>> {
        // Few distinct values, so that ties and copies are common.
        let axis = || (0..6u8).prop_map(f64::from);
        let point = (axis(), axis(), axis()).prop_map(|(a, b, c)| [a, b, c]);
        prop::collection::vec(point, 0..count)
    }

    proptest! {
        #[test]
        fn the_sweep_agrees_with_the_definition(points in points(30)) {
            let by_definition: Vec<_> = points
                .iter()
                .map(|p| !points.iter().any(|q| dominates(q, p, 2)))
                .collect();
            prop_assert_eq!(non_dominated(&points, 2), by_definition);
        }

        #[test]
        fn dominance_is_a_strict_order(points in points(12), objectives in 2usize..=3) {
            for a in &points {
                prop_assert!(!dominates(a, a, objectives));
                for b in &points {
                    prop_assert!(!(dominates(a, b, objectives) && dominates(b, a, objectives)));
                    for c in &points {
                        if dominates(a, b, objectives) && dominates(b, c, objectives) {
                            prop_assert!(dominates(a, c, objectives));
                        }
                    }
                }
            }
        }

        #[test]
        fn something_always_stands(points in points(30), objectives in 2usize..=3) {
            let standing = non_dominated(&points, objectives).iter().filter(|on| **on).count();
            prop_assert_eq!(standing > 0, !points.is_empty());
        }
    }

    #[test]
    fn two_copies_stand_side_by_side() {
        let copies = [[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.5, 1.0, 0.0]];
        assert_eq!(non_dominated(&copies, 2), [true, true, false]);
    }
}
