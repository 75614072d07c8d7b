use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn address(number: u32) -> SocketAddrV4 {
    SocketAddrV4::new(
        Ipv4Addr::from(0x0a00_0000 | number >> 8),
        1000 + (number & 0xff) as u16,
    )
}

proptest! {
    #[test]
    fn the_closest_are_those_of_a_sorted_list(
        own: [u8; 32],
        numbers in prop::collection::vec(0u32..1 << 20, 0..300),
        target: [u8; 32],
        target_near_own: bool,
    ) {
        let mut table = RoutingTable::new(own);
        for number in numbers {
            table.add(Known::new(address(number), 1), 1);
        }
        let mut target = target;
        if target_near_own {
            target[..4].copy_from_slice(&own[..4]);
        }
        let mut all: Vec<_> = table.oldest().map(|known| known.id).collect();
        prop_assert_eq!(all.len(), table.len());
        all.sort_by(|a, b| compare(&target, a, b));
        all.truncate(K);
        let closest: Vec<_> = table.closest(&target, K).iter().map(|known| known.id).collect();
        prop_assert_eq!(closest, all);
    }
}

#[test]
fn a_full_bucket_names_the_one_that_was_asked_the_longest_ago() {
    let own = [0; 32];
    let mut table = RoutingTable::new(own);
    let mut first = None;
    for number in 0.. {
        let node = Known::new(address(number), u64::from(number));
        if prefix(&own, &node.id) != 0 {
            continue;
        }
        first.get_or_insert(node.id);
        match table.add(node, 1000) {
            Added::Inserted => assert!(table.len() <= K),
            added => {
                assert_eq!(added, Added::Full { oldest: first });
                assert_eq!(table.len(), K);
                return;
            }
        }
    }
}

#[test]
fn who_was_heard_of_is_the_latest_and_who_is_removed_is_gone() {
    let mut table = RoutingTable::new([0; 32]);
    let ids: Vec<_> = (0..3).map(|n| Known::new(address(n), 1)).collect();
    for known in &ids {
        assert_eq!(table.add(known.clone(), 1), Added::Inserted);
        assert_eq!(table.add(known.clone(), 1), Added::Known);
    }
    assert_eq!(table.oldest().next().map(|known| known.id), Some(ids[0].id));
    table.heard_of(&ids[0].id, 7);
    assert_eq!(
        table.latest().next().map(|known| (known.id, known.seen)),
        Some((ids[0].id, 7))
    );
    assert!(table.remove(&ids[0].id).is_some());
    assert!(table.remove(&ids[0].id).is_none() && table.get(&ids[0].id).is_none());
    assert_eq!(table.len(), 2);
    assert_eq!(
        table.moved_to(ids[1].id).len(),
        1,
        "the own node is not in the table"
    );
}
