//! A running average with its deviation, in constant space.

use serde::{Deserialize, Serialize};

/// After so many values an older one counts less and less.
pub const WINDOW: u32 = 100;

/// Average and variance of values that came one after the other. Up to [`WINDOW`] values they are those of all values;
/// from then on each new one weighs 1/[`WINDOW`]: `average += w·d`, `variance = (1-w)·(variance + w·d²)`, where `d` is the
/// difference of the new value from the average and `w` its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many values there were, at most [`WINDOW`].
    pub count: u32,
    /// Their average.
    pub average: f64,
    /// Their variance.
    pub variance: f64,
}

impl Spread {
    /// Takes another value. What is no finite number is left out.
    pub fn add(&mut self, value: f64) {
        let difference = value - self.average;
        if !difference.is_finite() {
            return;
        }
        self.count = (self.count + 1).min(WINDOW);
        let weight = 1.0 / f64::from(self.count);
        self.average += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        self.variance.max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_values_have_their_plain_average_and_deviation() {
        let mut spread = Spread::default();
        for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, f64::NAN] {
            spread.add(value);
        }
        assert_eq!(spread.count, 8);
        assert!((spread.average - 5.0).abs() < 1e-9, "{spread:?}");
        assert!((spread.deviation() - 2.0).abs() < 1e-9, "{spread:?}");
    }

    #[test]
    fn after_many_values_old_ones_are_forgotten() {
        let mut spread = Spread::default();
        (0..1000).for_each(|_| spread.add(1.0));
        (0..1000).for_each(|_| spread.add(3.0));
        assert!((spread.average - 3.0).abs() < 0.01, "{spread:?}");
        assert!(spread.deviation() < 0.1, "{spread:?}");
    }
}
