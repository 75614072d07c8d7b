//! Numbers of packets that do not come round.

use crate::udx::packet::Seq;

/// How the packets of one direction are numbered on the wire. Inside, the first is 0, and they never come round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    first: Seq,
}

impl Numbers {
    pub(super) fn new(first: Seq) -> Self {
        Self { first }
    }

    /// As it goes on the wire: the low 32 bits.
    pub(super) fn seq(self, number: u64) -> Seq {
        self.first.plus(number as u32)
    }

    /// The number nearest to `near` that has this form on the wire; `None` if it were before the first.
    pub(super) fn near(self, near: u64, seq: Seq) -> Option<u64> {
        near.checked_add_signed(seq.since(self.seq(near)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_again_across_the_round() {
        let numbers = Numbers::new(Seq(u32::MAX - 5));
        for number in [0, 5, 6, 7, 1 << 31, (1 << 32) + 3, u64::from(u32::MAX) * 7] {
            for near in [number, number + 1000, number.saturating_sub(1000)] {
                assert_eq!(numbers.near(near, numbers.seq(number)), Some(number));
            }
        }
        assert_eq!(numbers.near(3, Seq(u32::MAX - 6)), None);
    }
}
