//! How many requests may be under way at once (dht-rpc `lib/io.js`, `CongestionWindow`).

/// Requests sent in four slots of time of [`DRAIN`](super::requests::DRAIN) each; responses give their room back.
#[derive(Debug, Clone)]
pub struct CongestionWindow {
    slots: [u32; 4],
    now: usize,
    total: u32,
    max: u32,
}

impl CongestionWindow {
    /// At most `max` requests in one slot, twice that in all.
    pub fn new(max: u32) -> Self {
        Self {
            slots: [0; 4],
            now: 0,
            total: 0,
            max,
        }
    }

    /// Whether the next request has to wait.
    pub fn is_full(&self) -> bool {
        self.total >= self.max.saturating_mul(2) || self.slots[self.now] >= self.max
    }

    /// A request was sent.
    pub fn sent(&mut self) {
        self.slots[self.now] += 1;
        self.total += 1;
    }

    /// A request is over, whether answered or given up.
    pub fn finished(&mut self) {
        if self.slots[self.now] > 0 {
            self.slots[self.now] -= 1;
            self.total -= 1;
        }
    }

    /// Nothing is under way any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.max);
    }

    /// Time for the next slot: what the oldest held is forgotten.
    pub fn drain(&mut self) {
        self.now = (self.now + 1) % self.slots.len();
        self.total -= self.slots[self.now];
        self.slots[self.now] = 0;
    }
}
