//! Bytes to blocks and back.

use hyper_core::flat_tree::Position;
use hyper_core::merkle::{Seek, block_range, missing_nodes, missing_nodes_at_most, seek};

use crate::*;

#[test]
fn bytes_are_found_where_the_peer_finds_them_even_when_nodes_are_missing() {
    for case in list(&vectors("core")["seeks"]) {
        let empty = case["empty"].as_bool().unwrap();
        let length = uint(&case["length"]);
        let (tree, mut nodes) = grow_with(
            length,
            0,
            |i| if empty && i % 5 < 2 { Vec::new() } else { block(i) },
        );
        for index in list(&case["missing"]) {
            nodes.remove(Position::new(uint(index)).unwrap());
        }
        let expected = match (case.get("found"), case.get("within")) {
            (Some(found), _) => Seek::Block {
                block: uint(&found[0]),
                offset: uint(&found[1]),
            },
            (_, Some(within)) => Seek::Within(uint(&within[0])..uint(&within[1])),
            _ => Seek::Beyond,
        };
        assert_eq!(
            seek(&tree, uint(&case["bytes"]), uint(&case["padding"]), &nodes).unwrap(),
            expected,
            "{case}"
        );
        for (place, i) in [0, 7, 20].into_iter().enumerate() {
            let at = Position::of_block(i).unwrap();
            assert_eq!(
                missing_nodes(at, length, &nodes).unwrap(),
                uint(&case["levels"][place]),
                "{case}"
            );
            assert_eq!(
                missing_nodes_at_most(at, length),
                uint(&case["most"][place]),
                "{case}"
            );
        }
    }
}

#[test]
fn every_block_has_its_bytes_and_every_byte_its_block() {
    let (tree, nodes) = grow(50, 0);
    let mut next = 0;
    for i in 0..50 {
        let range = block_range(&tree, i, &nodes).unwrap();
        assert_eq!(
            (range.start, range.end - range.start),
            (next, block(i).len() as u64)
        );
        next = range.end;
        for byte in [range.start, range.end - 1] {
            let expected = Seek::Block {
                block: i,
                offset: byte - range.start,
            };
            assert_eq!(seek(&tree, byte, 0, &nodes).unwrap(), expected);
        }
    }
    assert_eq!(next, tree.byte_length());
    assert_eq!(
        seek(&tree, next, 0, &nodes).unwrap(),
        Seek::Block { block: 50, offset: 0 }
    );
    assert_eq!(seek(&tree, next + 1, 0, &nodes).unwrap(), Seek::Beyond);
    assert!(block_range(&tree, 50, &nodes).is_err());
    assert!(
        seek(&tree, 5, 9, &nodes).is_err(),
        "the first block is shorter than such a padding"
    );
}
