//! Which cores are open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use crate::core::Core;
use crate::crypto::Hash;
use crate::live::{Live, lock};
use crate::store::StoreError;

/// The open cores by discovery key; they are not held open by this.
#[derive(Default)]
pub(super) struct Registry(Mutex<Open>);

#[derive(Default)]
struct Open {
    cores: HashMap<Hash, Weak<Live>>,
    /// At how many entries those of closed cores are looked for.
    sweep_at: usize,
}

impl Registry {
    /// The core, if it is open.
    pub(super) fn get(&self, discovery_key: &Hash) -> Option<Arc<Live>> {
        lock(&self.0).cores.get(discovery_key)?.upgrade()
    }

    /// Opens a core. If it is open by now it is that one, which learns the key pair that this one has.
    pub(super) fn open(&self, discovery_key: &Hash, core: Core) -> Result<Arc<Live>, StoreError> {
        let mut all = lock(&self.0);
        if let Some(live) = all.cores.get(discovery_key).and_then(Weak::upgrade) {
            live.core().learn_key_pair(core);
            return Ok(live);
        }
        let live = Live::new(core)?;
        all.insert(*discovery_key, &live);
        Ok(live)
    }

    /// How many cores are open.
    pub(super) fn count(&self) -> usize {
        let all = lock(&self.0);
        all.cores.values().filter(|live| live.strong_count() > 0).count()
    }
}

impl Open {
    fn insert(&mut self, discovery_key: Hash, live: &Arc<Live>) {
        if self.cores.len() >= self.sweep_at {
            self.cores.retain(|_, live| live.strong_count() > 0);
            self.sweep_at = 2 * self.cores.len() + 16;
        }
        self.cores.insert(discovery_key, Arc::downgrade(live));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::CoreOptions;
    use crate::crypto::KeyPair;
    use crate::store::Store;

    #[test]
    fn entries_of_closed_cores_do_not_pile_up() {
        let (store, registry) = (Store::in_memory().unwrap(), Registry::default());
        for number in 0..1000u16 {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_le_bytes());
            registry.open(&key, core(&store)).unwrap();
        }
        assert!(lock(&registry.0).cores.len() <= 16);
        assert_eq!(registry.count(), 0);
    }

    #[test]
    fn a_core_is_open_once() {
        let (store, registry) = (Store::in_memory().unwrap(), Registry::default());
        let first = registry.open(&[1; 32], core(&store)).unwrap();
        let second = registry.open(&[1; 32], core(&store)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(registry.count(), 1);
        drop((first, second));
        assert!(registry.get(&[1; 32]).is_none());
    }

    fn core(store: &Store) -> Core {
        let pair = KeyPair::from_seed(&[1; 32]);
        store.core(CoreOptions::from_key_pair(pair)).unwrap()
    }
}
