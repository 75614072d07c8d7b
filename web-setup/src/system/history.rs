//! The last half hour of memory and temperature, in a few hundred bytes.

use std::collections::VecDeque;
use std::time::Duration;

/// Time between two points.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// Points that are kept: half an hour.
pub const POINTS: usize = 60;

/// Points, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Memory in use, 0 to 100.
    pub memory_percent: VecDeque<u8>,
    /// Degrees Celsius.
    pub celsius: VecDeque<f64>,
}

impl History {
    /// Adds a point; what is not available adds none.
    pub fn push(&mut self, memory_percent: Option<u8>, celsius: Option<f64>) {
        fn keep<T>(points: &mut VecDeque<T>, point: Option<T>) {
            let Some(point) = point else { return };
            if points.len() == POINTS {
                points.pop_front();
            }
            points.push_back(point);
        }
        keep(&mut self.memory_percent, memory_percent);
        keep(&mut self.celsius, celsius);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_point_goes_first() {
        let mut history = History::default();
        for n in 0..=POINTS {
            history.push(u8::try_from(n).ok(), None);
        }
        assert_eq!(
            (history.memory_percent.len(), history.memory_percent[0]),
            (POINTS, 1)
        );
        assert!(history.celsius.is_empty());
    }
}
