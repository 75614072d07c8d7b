//! The outermost look at DER: lengths, and how many parts there are.
//!
//! Before anything is decoded: sorting a SET is quadratic in the decoder, and its errors do not tell a cut file from
//! a damaged one. After it: whether the decoder saw what stands there.

use super::CmsError;

/// Most parts of one structure; a signature with a chain of five has less than 20 anywhere.
const MAX_PARTS: usize = 64;
/// Deepest nesting; a name in a certificate in a CMS is at 11.
const MAX_DEPTH: u8 = 24;
/// Tag of a SET.
const SET: u8 = 0x31;
/// Tags that stand in place of [`SET`] in CMS; where they are EXPLICIT they hold one part, and sorting does nothing.
const IMPLICIT_SET_0: u8 = 0xa0;
const IMPLICIT_SET_1: u8 = 0xa1;
/// Set in the tag of a structure with parts.
const CONSTRUCTED: u8 = 0x20;

/// Checks that `bytes` is one DER element with nothing behind it.
pub(super) fn check(bytes: &[u8]) -> Result<(), CmsError> {
    let first = element(bytes)?;
    if !first.rest.is_empty() {
        return Err(CmsError::TrailingBytes {
            count: first.rest.len(),
        });
    }
    parts(&first, MAX_DEPTH)
}

/// Whether both are the same but for the order of sets. The order of the decoder is not quite that of DER (it compares
/// fields, not bytes), so its encoding of certificates by OpenSSL need not be byte for byte what it read.
pub(super) fn same_but_for_order(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && matches!((sorted(a), sorted(b)), (Ok(a), Ok(b)) if a == b)
}

/// `bytes`, elements that passed [`check`], with the parts of every set in the order of DER (X.690, 11.6).
pub(super) fn sorted(bytes: &[u8]) -> Result<Vec<u8>, CmsError> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let element = element(rest)?;
        let whole = &rest[..rest.len() - element.rest.len()];
        let header = &whole[..whole.len() - element.content.len()];
        out.extend_from_slice(header);
        match element.tag {
            SET | IMPLICIT_SET_0 | IMPLICIT_SET_1 => out.extend(sorted_parts(element.content)?.concat()),
            tag if tag & CONSTRUCTED != 0 => out.extend(sorted(element.content)?),
            _ => out.extend_from_slice(element.content),
        }
        rest = element.rest;
    }
    Ok(out)
}

fn sorted_parts(content: &[u8]) -> Result<Vec<Vec<u8>>, CmsError> {
    let mut parts = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let part = element(rest)?;
        parts.push(sorted(&rest[..rest.len() - part.rest.len()])?);
        rest = part.rest;
    }
    parts.sort();
    Ok(parts)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

fn parts(element: &Element<'_>, depth: u8) -> Result<(), CmsError> {
    if element.tag & CONSTRUCTED == 0 {
        return Ok(());
    }
    let depth = depth.checked_sub(1).ok_or(CmsError::TooComplex)?;
    let mut rest = element.content;
    for _ in 0..MAX_PARTS {
        if rest.is_empty() {
            return Ok(());
        }
        // Inside a whole element nothing is cut off: a wrong length is damage.
        let part = self::element(rest).map_err(|_| DAMAGED)?;
        parts(&part, depth)?;
        rest = part.rest;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(CmsError::TooComplex)
    }
}

const DAMAGED: CmsError = CmsError::NotDer { what: "a length" };

fn element(bytes: &[u8]) -> Result<Element<'_>, CmsError> {
    let (&tag, rest) = bytes.split_first().ok_or(CmsError::Truncated)?;
    // Tag numbers of 31 and more do not occur in CMS.
    if tag & 0x1f == 0x1f {
        return Err(CmsError::NotDer { what: "a tag" });
    }
    let (length, rest) = length(rest)?;
    let (content, rest) = rest.split_at_checked(length).ok_or(CmsError::Truncated)?;
    Ok(Element { tag, content, rest })
}

/// The shortest form only; no indefinite length, which is BER.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), CmsError> {
    let (&first, rest) = bytes.split_first().ok_or(CmsError::Truncated)?;
    let count = match first {
        0..=0x7f => return Ok((usize::from(first), rest)),
        0x81..=0x84 => usize::from(first & 0x7f),
        _ => return Err(DAMAGED),
    };
    let (digits, rest) = rest.split_at_checked(count).ok_or(CmsError::Truncated)?;
    let length = digits
        .iter()
        .fold(0u64, |length, digit| length << 8 | u64::from(*digit));
    let shortest = if count == 1 {
        length >= 0x80
    } else {
        length >> (8 * (count - 1)) != 0
    };
    match usize::try_from(length) {
        Ok(length) if shortest => Ok((length, rest)),
        _ => Err(DAMAGED),
    }
}
