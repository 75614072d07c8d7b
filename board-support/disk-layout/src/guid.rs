//! GUIDs: mixed-endian on disk, lower-case text.

use core::fmt;

/// A GUID as UEFI stores it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// Types of partitions.
pub mod types {
    use super::Guid;

    /// EFI system partition: what UEFI firmware looks for.
    pub const EFI_SYSTEM: Guid = Guid::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
    /// Linux file system data: no meaning beyond "not yours" to other systems, nothing is mounted by itself.
    pub const LINUX_DATA: Guid = Guid::from_u128(0x0fc63daf_8483_4772_8e79_3d69d8477de4);
}

impl Guid {
    /// All zero: an unused entry.
    pub const ZERO: Self = Self([0; 16]);

    /// From its text read as one hexadecimal number.
    pub const fn from_u128(text: u128) -> Self {
        let t = text.to_be_bytes();
        Self([
            t[3], t[2], t[1], t[0], t[5], t[4], t[7], t[6], t[8], t[9], t[10], t[11], t[12], t[13], t[14],
            t[15],
        ])
    }

    /// From its bytes on disk.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes on disk.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0
    }

    /// From text such as `0fc63daf-8483-4772-8e79-3d69d8477de4`, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut value = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
            } else {
                value = value << 4 | u128::from(char::from(*byte).to_digit(16)?);
            }
        }
        Some(Self::from_u128(value))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let g = self.0;
        let first = u32::from_le_bytes([g[0], g[1], g[2], g[3]]);
        let (second, third) = (u16::from_le_bytes([g[4], g[5]]), u16::from_le_bytes([g[6], g[7]]));
        write!(
            f,
            "{first:08x}-{second:04x}-{third:04x}-{:02x}{:02x}-",
            g[8], g[9]
        )?;
        g[10..].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
