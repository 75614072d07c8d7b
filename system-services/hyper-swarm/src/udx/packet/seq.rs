//! Sequence numbers, which come round.

/// Number of a packet within its stream and direction. After 2^32 - 1 comes 0, so one is before another if the way there
/// is less than half of the round (RFC 1982 calls it serial number arithmetic). There is no order over all of them, hence
/// no `Ord`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// The number `packets` later.
    #[must_use]
    pub const fn plus(self, packets: u32) -> Self {
        Self(self.0.wrapping_add(packets))
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// How many packets this is after `other`; negative if it is before it.
    #[must_use]
    pub const fn since(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// Whether this is before `other`.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        self.since(other) < 0
    }
}
