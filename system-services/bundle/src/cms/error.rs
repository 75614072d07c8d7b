//! Why a signature is refused.

/// Why a signature is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CmsError {
    /// The manifest is not inside the signature.
    #[error("the signature does not hold the manifest; make the bundle again with format=verity")]
    Detached,
}
