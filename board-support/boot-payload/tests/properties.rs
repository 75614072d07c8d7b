//! Properties of the boot payload.

use boot_payload::{
    HEADER_LEN, Header, HeaderError, PartError, PartHash, PartKind, Payload, SignatureError, SigningKey,
    WriteError,
};
use proptest::prelude::*;

const SAMPLE: Payload<'static> = Payload {
    compatible: "qemu-arm64",
    version: "0.1.0+20260101",
    kernel_gzip: b"not really a kernel, but bytes enough",
    kernel_unpacked_len: 5000,
    initramfs: &[7; 9000],
    command_line: "quiet gpt hearth.root-hash=00",
    development_keys: true,
};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 32]).expect("a scalar")
}

fn header_bytes(slot: &[u8]) -> [u8; HEADER_LEN] {
    slot[..HEADER_LEN].try_into().expect("4096 bytes")
}

#[test]
fn what_was_written_reads_back_verified() {
    let slot = SAMPLE.write(&key(1)).unwrap();
    let header = Header::parse(&header_bytes(&slot), slot.len() as u64).unwrap();
    header.verify(key(1).verifying_key()).unwrap();
    assert_eq!(
        (header.compatible(), header.version()),
        (SAMPLE.compatible, SAMPLE.version)
    );
    assert!(header.development_keys());
    let stored = |kind| {
        let part = header.part(kind);
        &slot[part.offset() as usize..][..part.stored_len() as usize]
    };
    for kind in PartKind::ALL {
        header.check_part(kind, stored(kind)).unwrap();
    }
    assert_eq!(stored(PartKind::Kernel), SAMPLE.kernel_gzip);
    assert_eq!(stored(PartKind::Initramfs), SAMPLE.initramfs);
    assert_eq!(
        header.check_command_line(stored(PartKind::CommandLine)).unwrap(),
        SAMPLE.command_line
    );
    assert_eq!(header.part(PartKind::Kernel).unpacked_len(), 5000);
}

#[test]
fn same_inputs_give_the_same_bytes() {
    assert_eq!(SAMPLE.write(&key(1)).unwrap(), SAMPLE.write(&key(1)).unwrap());
    assert_ne!(SAMPLE.write(&key(1)).unwrap(), SAMPLE.write(&key(2)).unwrap());
}

#[test]
fn a_header_signed_by_another_key_is_refused() {
    let slot = SAMPLE.write(&key(2)).unwrap();
    let mut bytes = header_bytes(&slot);
    let parse = |bytes: &[u8; HEADER_LEN]| {
        Header::parse(bytes, slot.len() as u64)
            .unwrap()
            .verify(key(1).verifying_key())
    };
    assert_eq!(parse(&bytes), Err(SignatureError::OtherKey));
    // Claiming to be the right key does not help.
    bytes[312..320].copy_from_slice(&boot_payload::key_id(key(1).verifying_key()));
    assert_eq!(parse(&bytes), Err(SignatureError::Wrong));
}

#[test]
fn any_flipped_bit_of_the_header_is_refused() {
    let slot = SAMPLE.write(&key(1)).unwrap();
    for at in 0..HEADER_LEN {
        // Every bit where it matters, one bit in the long run of zeros.
        for bit in 0..if at < 392 { 8 } else { 1 } {
            let mut bytes = header_bytes(&slot);
            bytes[at] ^= 1 << bit;
            let accepted = Header::parse(&bytes, slot.len() as u64)
                .is_ok_and(|header| header.verify(key(1).verifying_key()).is_ok());
            assert!(!accepted, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn the_mirrored_signature_is_refused() {
    let slot = SAMPLE.write(&key(1)).unwrap();
    let mut bytes = header_bytes(&slot);
    // s' = n - s verifies in plain ECDSA too.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51_u8,
    ];
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i16::from(order[i]) - i16::from(bytes[352 + i]) - borrow;
        borrow = i16::from(difference < 0);
        bytes[352 + i] = difference.rem_euclid(256) as u8;
    }
    let header = Header::parse(&bytes, slot.len() as u64).unwrap();
    assert_eq!(header.verify(key(1).verifying_key()), Err(SignatureError::Wrong));
}

#[test]
fn a_part_with_other_bytes_or_another_length_is_refused() {
    let slot = SAMPLE.write(&key(1)).unwrap();
    let header = Header::parse(&header_bytes(&slot), slot.len() as u64).unwrap();
    let mut initramfs = SAMPLE.initramfs.to_vec();
    initramfs[4321] ^= 0x10;
    assert_eq!(
        header.check_part(PartKind::Initramfs, &initramfs),
        Err(PartError::Hash {
            kind: PartKind::Initramfs
        })
    );
    assert!(matches!(
        header.check_part(PartKind::Initramfs, &SAMPLE.initramfs[1..]),
        Err(PartError::Length {
            given: 8999,
            expected: 9000,
            ..
        })
    ));
    let mut piecewise = PartHash::new(header.part(PartKind::Initramfs));
    SAMPLE
        .initramfs
        .chunks(4096)
        .for_each(|piece| piecewise.update(piece));
    piecewise.finish().unwrap();
}

#[test]
fn a_partition_that_is_one_byte_too_small_is_refused() {
    let slot = SAMPLE.write(&key(1)).unwrap();
    let error = Header::parse(&header_bytes(&slot), slot.len() as u64 - 1).unwrap_err();
    assert!(
        matches!(
            error,
            HeaderError::Offset {
                kind: PartKind::CommandLine,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn offsets_and_lengths_cannot_overflow_or_overlap() {
    let slot = SAMPLE.write(&key(1)).unwrap();
    let with = |at: usize, value: u64| {
        let mut bytes = header_bytes(&slot);
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        Header::parse(&bytes, u64::MAX)
    };
    let (kernel, initramfs) = (120, 184);
    for offset in [0, 4095, 4097, u64::MAX, u64::MAX - 4095] {
        assert!(
            matches!(with(kernel + 8, offset), Err(HeaderError::Offset { .. })),
            "{offset}"
        );
    }
    assert!(matches!(
        with(initramfs + 8, 4096),
        Err(HeaderError::Offset { .. })
    ));
    for length in [0, boot_payload::MAX_STORED + 1, u64::MAX] {
        assert!(
            matches!(with(kernel + 16, length), Err(HeaderError::Length { .. })),
            "{length}"
        );
    }
    for length in [0, boot_payload::MAX_UNPACKED + 1] {
        assert!(
            matches!(with(kernel + 24, length), Err(HeaderError::Length { .. })),
            "{length}"
        );
    }
}

#[test]
fn what_the_parser_would_refuse_is_not_written() {
    let long = "x".repeat(2049);
    assert_eq!(
        Payload {
            command_line: &long,
            ..SAMPLE
        }
        .write(&key(1)),
        Err(WriteError::CommandLine)
    );
    assert_eq!(
        Payload {
            command_line: "a\nb",
            ..SAMPLE
        }
        .write(&key(1)),
        Err(WriteError::CommandLine)
    );
    for bad in ["", "a b", "a\0b", "\u{e4}", &"x".repeat(33)] {
        assert!(
            matches!(
                Payload {
                    compatible: bad,
                    ..SAMPLE
                }
                .write(&key(1)),
                Err(WriteError::Compatible(_))
            ),
            "{bad:?}"
        );
    }
    assert!(
        Payload {
            compatible: &"x".repeat(32),
            ..SAMPLE
        }
        .write(&key(1))
        .is_ok()
    );
    assert!(matches!(
        Payload {
            kernel_gzip: &[],
            ..SAMPLE
        }
        .write(&key(1)),
        Err(WriteError::Header(_))
    ));
    assert!(matches!(
        Payload {
            initramfs: &[],
            ..SAMPLE
        }
        .write(&key(1)),
        Err(WriteError::Header(_))
    ));
}

proptest! {
    #[test]
    fn whatever_parses_encodes_to_the_same_bytes(
        changes in prop::collection::vec((0..HEADER_LEN, any::<u8>()), 0..4),
        partition_len in prop_oneof![any::<u64>(), 0..40_000u64],
    ) {
        let mut bytes = header_bytes(&SAMPLE.write(&key(1)).unwrap());
        for (at, value) in changes {
            bytes[at] = value;
        }
        if let Ok(header) = Header::parse(&bytes, partition_len) {
            prop_assert_eq!(header.encode(), bytes);
            for kind in PartKind::ALL {
                let part = header.part(kind);
                prop_assert!(part.offset() + part.stored_len() <= partition_len);
            }
        }
    }
}
