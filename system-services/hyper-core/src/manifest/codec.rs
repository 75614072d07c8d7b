//! A manifest as bytes.

use super::{InvalidManifest, Manifest, ManifestFields, NEWEST_VERSION, Prologue, Signer};
use crate::crypto::{self, Hash, Namespace};
use crate::messages::MalformedMessage;
use crate::messages::codec::{Reader, flags, put_bytes, put_uint};

/// Bytes of an encoded signer.
const SIGNER_BYTES: usize = 65;

/// Bytes that are no manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// They cannot be read.
    #[error(transparent)]
    Malformed(#[from] MalformedMessage),
    /// A hash function other than BLAKE2b.
    #[error("the manifest wants hash function {0}, which is not known")]
    Hash(u64),
    /// Signatures other than ed25519.
    #[error("a signer in the manifest wants signature scheme {0}, which is not known")]
    Scheme(u64),
    /// A kind of version 0 manifest that does not exist.
    #[error("a manifest of version 0 is of kind {0}, which is not known")]
    Kind(u64),
    /// They can be read, but contradict each other.
    #[error(transparent)]
    Invalid(#[from] InvalidManifest),
}

impl Manifest {
    /// The manifest's hash: the key of a core that is not compat.
    pub fn hash(&self) -> Hash {
        crypto::hash(&[Namespace::Manifest.bytes(), &self.encode()])
    }

    /// The manifest as bytes, the same for equal manifests.
    pub fn encode(&self) -> Vec<u8> {
        let fields = self.fields();
        let mut out = Vec::with_capacity(8 + SIGNER_BYTES * fields.signers.len());
        put_uint(&mut out, fields.version.into());
        if fields.version == 0 {
            encode_version_0(fields, &mut out);
            return out;
        }
        let ManifestFields {
            prologue,
            linked,
            user_data,
            ..
        } = fields;
        put_uint(
            &mut out,
            flags([
                fields.allow_patch,
                prologue.is_some(),
                linked.is_some(),
                user_data.is_some(),
            ]),
        );
        put_uint(&mut out, 0); // BLAKE2b
        put_uint(&mut out, fields.quorum);
        put_signers(&mut out, &fields.signers);
        if let Some(Prologue { hash, length }) = prologue {
            out.extend_from_slice(hash);
            put_uint(&mut out, *length);
        }
        if let Some(linked) = linked {
            put_uint(&mut out, linked.len() as u64);
            out.extend(linked.iter().flatten());
        }
        if let Some(user_data) = user_data {
            put_bytes(&mut out, user_data);
        }
        out
    }

    /// Reads a manifest. Bytes after it and unknown flags are ignored, as the peers do: who wants to know that it is a core's
    /// manifest compares [`Manifest::hash`], which covers what was read.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let reader = &mut Reader::new("Manifest", bytes);
        let version = reader.uint("version")?;
        let version = u8::try_from(version)
            .ok()
            .filter(|version| *version <= NEWEST_VERSION)
            .ok_or(InvalidManifest::Version(version))?;
        let fields = if version == 0 {
            decode_version_0(reader)?
        } else {
            decode_fields(version, reader)?
        };
        Ok(Self::new(fields)?)
    }
}

/// Version 0 has three kinds: 0 is a prologue without signers, 1 a single signer, 2 anything else.
fn encode_version_0(fields: &ManifestFields, out: &mut Vec<u8>) {
    put_uint(out, 0); // BLAKE2b
    match (&fields.prologue, &fields.signers[..]) {
        (Some(prologue), []) => {
            put_uint(out, 0);
            out.extend_from_slice(&prologue.hash);
        }
        (_, [signer]) if fields.quorum == 1 && !fields.allow_patch => {
            put_uint(out, 1);
            put_signer(out, signer);
        }
        (_, signers) => {
            put_uint(out, 2);
            put_uint(out, fields.allow_patch.into());
            put_uint(out, fields.quorum);
            put_signers(out, signers);
        }
    }
}

fn decode_version_0(reader: &mut Reader) -> Result<ManifestFields, ManifestError> {
    let mut fields = ManifestFields {
        version: 0,
        allow_patch: false,
        quorum: 0,
        signers: Vec::new(),
        prologue: None,
        linked: None,
        user_data: None,
    };
    check_hash(reader)?;
    match reader.uint("kind")? {
        0 => {
            fields.prologue = Some(Prologue {
                hash: reader.array("prologue.hash")?,
                length: 0,
            })
        }
        1 => {
            fields.quorum = 1;
            fields.signers = known_schemes(vec![signer(reader)?])?;
        }
        2 => {
            fields.allow_patch = reader.uint("flags")? & 1 != 0;
            fields.quorum = reader.uint("quorum")?;
            fields.signers = signers(reader)?;
        }
        kind => return Err(ManifestError::Kind(kind)),
    }
    Ok(fields)
}

fn decode_fields(version: u8, reader: &mut Reader) -> Result<ManifestFields, ManifestError> {
    let flags = reader.uint("flags")?;
    check_hash(reader)?;
    let given = |bit: u64| flags & bit != 0;
    // In the order of the bytes.
    Ok(ManifestFields {
        version,
        allow_patch: given(1),
        quorum: reader.uint("quorum")?,
        signers: signers(reader)?,
        prologue: given(2).then(|| prologue(reader)).transpose()?,
        linked: given(4)
            .then(|| reader.list("linked", 32, |reader| reader.array("linked")))
            .transpose()?,
        user_data: given(8)
            .then(|| reader.bytes("user_data").map(<[u8]>::to_vec))
            .transpose()?,
    })
}

fn check_hash(reader: &mut Reader) -> Result<(), ManifestError> {
    match reader.uint("hash")? {
        0 => Ok(()),
        unknown => Err(ManifestError::Hash(unknown)),
    }
}

fn prologue(reader: &mut Reader) -> Result<Prologue, MalformedMessage> {
    Ok(Prologue {
        hash: reader.array("prologue.hash")?,
        length: reader.uint("prologue.length")?,
    })
}

/// A signer and the number of its scheme.
fn signer(reader: &mut Reader) -> Result<(u64, Signer), MalformedMessage> {
    let scheme = reader.uint("signer.scheme")?;
    let namespace = reader.array("signer.namespace")?;
    let public_key = reader.array("signer.public_key")?;
    Ok((
        scheme,
        Signer {
            namespace,
            public_key,
        },
    ))
}

fn signers(reader: &mut Reader) -> Result<Vec<Signer>, ManifestError> {
    known_schemes(reader.list("signers", SIGNER_BYTES, signer)?)
}

fn known_schemes(signers: Vec<(u64, Signer)>) -> Result<Vec<Signer>, ManifestError> {
    let ed25519 = |(scheme, signer)| {
        if scheme == 0 {
            Ok(signer)
        } else {
            Err(ManifestError::Scheme(scheme))
        }
    };
    signers.into_iter().map(ed25519).collect()
}

fn put_signer(out: &mut Vec<u8>, signer: &Signer) {
    put_uint(out, 0); // ed25519
    out.extend_from_slice(&signer.namespace);
    out.extend_from_slice(&signer.public_key);
}

fn put_signers(out: &mut Vec<u8>, signers: &[Signer]) {
    put_uint(out, signers.len() as u64);
    for signer in signers {
        put_signer(out, signer);
    }
}
