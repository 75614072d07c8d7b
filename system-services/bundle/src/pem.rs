//! PEM files (RFC 7468): several blocks with any text between them.

use cms::cert::x509::der::pem;

/// Longest PEM file in bytes: many roots, or a large revocation list.
const MAX_PEM: usize = 4 * 1024 * 1024;

/// One `-----BEGIN …-----` block.
pub(crate) struct Block {
    pub label: String,
    pub der: zeroize::Zeroizing<Vec<u8>>,
}

/// Why a PEM file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Longer than 4 MiB.
    #[error("the PEM file is longer than {MAX_PEM} bytes")]
    TooLong,
    /// A block without an end.
    #[error("line {line} begins a PEM block that has no end; is the file cut off?")]
    Unterminated {
        /// Line of its beginning, from 1.
        line: usize,
    },
    /// A block that is no base64, or has other headers.
    #[error("line {line} begins a PEM block that is damaged")]
    Damaged {
        /// Line of its beginning, from 1.
        line: usize,
        /// What the decoder says.
        reason: String,
    },
    /// A key in OpenSSL's old encrypted form.
    #[error("line {line} begins a block that is encrypted with a password; decrypt it with `openssl pkey`")]
    Encrypted {
        /// Line of its beginning, from 1.
        line: usize,
    },
}

/// Every block of `text`, in order; what stands between blocks is a comment.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_PEM {
        return Err(PemError::TooLong);
    }
    let mut blocks = Vec::new();
    let mut begun: Option<(usize, usize)> = None;
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if line.starts_with("-----BEGIN ") && begun.is_none() {
            begun = Some((index + 1, offset));
        } else if line.starts_with("-----END ")
            && let Some((number, start)) = begun.take()
        {
            blocks.push(block(&text[start..end], number)?);
        }
        offset = end;
    }
    match begun {
        Some((line, _)) => Err(PemError::Unterminated { line }),
        None => Ok(blocks),
    }
}

fn block(text: &str, line: usize) -> Result<Block, PemError> {
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(PemError::Encrypted { line });
    }
    let (label, der) = pem::decode_vec(text.trim_end().as_bytes()).map_err(|error| PemError::Damaged {
        line,
        reason: error.to_string(),
    })?;
    Ok(Block {
        label: label.to_owned(),
        der: der.into(),
    })
}
