//! A figure over rounds: mean, confidence interval, and what lay between.

use serde::{Deserialize, Serialize};

/// One figure of several rounds.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Spread {
    pub rounds: usize,
    pub mean: f64,
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// Half the width of the 95 % confidence interval of the mean (Student's t); none with a single round.
    pub plus_minus: Option<f64>,
}

impl Spread {
    /// Of these values; none where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let plus_minus = (count > 1).then(|| {
            let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
            let deviation = (squares / (count - 1) as f64).sqrt();
            student(count - 1) * deviation / (count as f64).sqrt()
        });
        let median = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
        Some(Self { rounds: count, mean, median, least: sorted[0], most: sorted[count - 1], plus_minus })
    }
}

/// The 97.5 % quantile of Student's t with so many degrees of freedom; beyond the table the next lower entry, which errs
/// to the wider side.
fn student(freedom: usize) -> f64 {
    const TABLE: [(usize, f64); 20] = [
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (5, 2.571),
        (6, 2.447),
        (7, 2.365),
        (8, 2.306),
        (9, 2.262),
        (10, 2.228),
        (11, 2.201),
        (12, 2.179),
        (13, 2.160),
        (14, 2.145),
        (15, 2.131),
        (20, 2.086),
        (30, 2.042),
        (60, 2.000),
        (120, 1.980),
        (1_000, 1.962),
    ];
    let below = TABLE.iter().rev().find(|(entry, _)| *entry <= freedom);
    below.map_or(f64::INFINITY, |(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_three_rounds() {
        let spread = Spread::of(&[12.0, 10.0, 11.0]).expect("there are values");
        assert_eq!((spread.mean, spread.median, spread.least, spread.most), (11.0, 11.0, 10.0, 12.0));
        // t(2) = 4.303, deviation 1, divided by the root of 3.
        assert!((spread.plus_minus.expect("three rounds") - 2.4843).abs() < 1e-3);
    }

    #[test]
    fn one_round_has_no_interval_and_none_has_no_spread() {
        assert_eq!(Spread::of(&[3.0]).expect("a value").plus_minus, None);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Spread::of(&[1.0, 2.0, 4.0, 9.0]).expect("values").median, 3.0);
    }

    #[test]
    fn intervals_narrow_with_more_rounds() {
        assert!((1..40).all(|freedom| student(freedom) >= student(freedom + 1)));
    }
}
