//! The last starts: which slot, which version, whether the boot manager had to heal. Kept by this service, one entry a start.

use ipc::boot_facts::{BootFacts, DataState, Slot};
use serde::{Deserialize, Serialize};

/// Starts that are kept.
pub const MAX: usize = 8;

/// One start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// The kernel's id of the start.
    pub id: String,
    /// Unix seconds by the appliance's clock when this service first saw the start.
    pub seen_at: u64,
    /// False when network time had not been reached at that moment: the time is a guess.
    pub clock_set: bool,
    /// The slot.
    pub slot: Slot,
    /// Image version.
    pub version: String,
    /// Both slots were exhausted and got new tries.
    pub healed: bool,
    /// `data` had to be mended.
    pub repaired: bool,
}

/// Adds this start, newest first, unless it is there already; true when the list changed.
pub fn record(boots: &mut Vec<Boot>, id: &str, facts: &BootFacts, seen_at: u64, clock_set: bool) -> bool {
    if boots.iter().any(|boot| boot.id == id) {
        return false;
    }
    boots.insert(
        0,
        Boot {
            id: id.into(),
            seen_at,
            clock_set,
            slot: facts.slot,
            version: facts.version.clone(),
            healed: facts.healed,
            repaired: facts.data == DataState::Repaired,
        },
    );
    boots.truncate(MAX);
    true
}

/// From stored bytes; what cannot be read is an empty list, it is a note and no more.
pub fn decode(bytes: &[u8]) -> Vec<Boot> {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// To stored bytes.
pub fn encode(boots: &[Boot]) -> Vec<u8> {
    serde_json::to_vec(boots).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::sample;

    #[test]
    fn each_start_is_noted_once_and_the_list_is_bounded() {
        let mut boots = vec![];
        assert!(record(&mut boots, "one", &sample::facts(), 1, false));
        assert!(!record(&mut boots, "one", &sample::facts(), 2, true));
        for n in 0..20 {
            record(&mut boots, &n.to_string(), &sample::facts(), n, true);
        }
        assert_eq!((boots.len(), boots[0].id.as_str()), (MAX, "19"));
        assert_eq!(decode(&encode(&boots)), boots);
        assert_eq!(decode(b"nonsense"), vec![]);
    }
}
