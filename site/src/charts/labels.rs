//! Labels beside marks: as many as fit without touching one another, a mark, or the frame.

use super::canvas::Canvas;
use super::theme::Shape;
use crate::names::cut;

/// Longer labels are cut.
pub(super) const MAX_LETTERS: usize = 30;

/// Text beside a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// Anchor.
    pub(crate) x: i32,
    /// Baseline.
    pub(crate) y: i32,
    /// `start` or `end`.
    pub(crate) anchor: &'static str,
    /// What it says.
    pub(crate) text: String,
}

/// A rectangle in drawn units that labels keep clear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Area {
    /// Around a horizontal or vertical line.
    pub(super) fn around((x1, y1): (i32, i32), (x2, y2): (i32, i32), air: i32) -> Self {
        Self {
            left: x1.min(x2) - air,
            right: x1.max(x2) + air,
            top: y1.min(y2) - air,
            bottom: y1.max(y2) + air,
        }
    }

    fn meets(self, other: Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// Labels the wanted marks in their order, at most as many as the shape allows, clear of
/// one another and of everything `taken`.
pub(super) fn place(
    shape: Shape,
    canvas: &Canvas,
    wanted: impl IntoIterator<Item = (i32, i32, String)>,
    mut taken: Vec<Area>,
) -> Vec<Label> {
    let mut labels = Vec::new();
    for (x, y, text) in wanted {
        if labels.len() == shape.labels() {
            break;
        }
        let text = cut(&text, MAX_LETTERS);
        let height = shape.text();
        let width =
            i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 10_000) * height * 54 / 100;
        let above = y - 38 - height / 4;
        let below = y + 38 + height * 4 / 5;
        let candidates = [
            ("start", x + 44, y + height / 3),
            ("end", x - 44, y + height / 3),
            ("start", x + 20, above),
            ("end", x - 20, above),
            ("start", x + 20, below),
            ("end", x - 20, below),
        ];
        for (anchor, at_x, baseline) in candidates {
            let left = match anchor {
                "start" => at_x,
                _ => at_x - width,
            };
            let area = Area {
                left,
                right: left + width,
                top: baseline - height * 4 / 5,
                bottom: baseline + height / 4,
            };
            let inside = area.left > canvas.left
                && area.right < canvas.right
                && area.top > canvas.top
                && area.bottom < canvas.bottom;
            if inside && !taken.iter().any(|other| area.meets(*other)) {
                taken.push(area);
                labels.push(Label {
                    x: at_x,
                    y: baseline,
                    anchor,
                    text,
                });
                break;
            }
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_stay_inside_the_frame_and_are_few(
            marks in proptest::collection::vec((300_i32..3600, 100_i32..1900, "\\PC{0,60}"), 0..30),
        ) {
            let canvas = Canvas { inner: String::new(), left: 240, right: 3700, top: 80, bottom: 1960 };
            let taken = marks.iter().map(|(x, y, _)| Area::around((*x, *y), (*x, *y), 30)).collect();
            let labels = place(Shape::Wide, &canvas, marks, taken);
            prop_assert!(labels.len() <= 7);
            for label in labels {
                prop_assert!((canvas.left..=canvas.right).contains(&label.x));
                prop_assert!((canvas.top..=canvas.bottom).contains(&label.y));
            }
        }
    }
}
