//! Answers to a peer's requests.

use crate::core::{Core, CoreError};
use crate::flat_tree::{self, Position};
use crate::manifest::{Manifest, Verifier};
use crate::merkle::{self, NodeProof, ProofRequest, ProofRequestError, SeekError, TreeNodes};
use crate::messages::{Data, EncodedManifest, Message, NoData, NoDataReason, Request};
use crate::replicator::{Check, short};
use crate::store::{Snapshot, StoreError};

/// An answer, and whether the request can be answered by nobody.
pub(crate) struct Answer {
    pub(crate) message: Message,
    pub(crate) invalid: bool,
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        Self {
            message,
            invalid: false,
        }
    }
}

fn no_data(request: &Request, reason: NoDataReason) -> Answer {
    Answer {
        message: Message::NoData(NoData {
            request: request.id,
            reason,
        }),
        invalid: reason == NoDataReason::INVALID_REQUEST,
    }
}

/// Answers a request out of a snapshot of the core.
pub(crate) fn answer(core: &Core, snapshot: &Snapshot, request: &Request) -> Answer {
    match proof(core, snapshot, request) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(
                core = short(core.key()),
                request = request.id,
                %error,
                "a peer's request is not answered: the core cannot be read"
            );
            no_data(request, NoDataReason::NOT_AVAILABLE)
        }
    }
}

fn proof(core: &Core, snapshot: &Snapshot, request: &Request) -> Result<Answer, CoreError> {
    let Some(verifier) = core.verifier()? else {
        return Ok(no_data(request, NoDataReason::NOT_AVAILABLE));
    };
    let manifest = (request.manifest && !verifier.is_compat()).then(|| verifier.manifest());
    let absent = match request.block {
        Some(block) => !snapshot.has(block.index)?,
        None => false,
    };
    if request.fork != snapshot.head().fork || absent {
        return Ok(match manifest {
            Some(manifest) => Message::Data(manifest_alone(snapshot, request, manifest)).into(),
            None => no_data(request, NoDataReason::NOT_AVAILABLE),
        });
    }
    let Ok(asked) = ProofRequest::try_from(request) else {
        return Ok(no_data(request, NoDataReason::INVALID_REQUEST));
    };
    prove(snapshot, verifier, request, &asked, manifest)
}

fn prove(
    snapshot: &Snapshot,
    verifier: &Verifier,
    request: &Request,
    asked: &ProofRequest,
    manifest: Option<&Manifest>,
) -> Result<Answer, CoreError> {
    let proof = match snapshot.prove(verifier, asked) {
        Ok(proof) => proof,
        // Of a sparse core: others may have the node.
        Err(CoreError::Request(ProofRequestError::Seek(SeekError::Missing(_)))) => {
            return Ok(no_data(request, NoDataReason::NOT_AVAILABLE));
        }
        Err(CoreError::Request(ProofRequestError::Seek(SeekError::Read(error)))) => {
            return Err(CoreError::Seek(SeekError::Read(error)));
        }
        Err(CoreError::Request(_)) => return Ok(no_data(request, NoDataReason::INVALID_REQUEST)),
        Err(error) => return Err(error),
    };
    let mut value = match proof.node {
        Some(NodeProof::Block { block, .. }) => snapshot.get(block)?,
        _ => None,
    };
    if matches!(proof.node, Some(NodeProof::Block { .. })) && value.is_none() {
        return Ok(no_data(request, NoDataReason::NOT_AVAILABLE));
    }
    let data = proof.into_data(request.id, manifest, |_| {
        Ok::<_, CoreError>(value.take().unwrap_or_default())
    })?;
    Ok(Message::Data(data).into())
}

fn manifest_alone(snapshot: &Snapshot, request: &Request, manifest: &Manifest) -> Data {
    Data {
        request: request.id,
        fork: snapshot.head().fork,
        block: None,
        hash: None,
        seek: None,
        upgrade: None,
        manifest: Some(EncodedManifest(manifest.encode())),
    }
}

/// Fills in how many levels are missing above the block that is asked for.
pub(crate) fn with_missing_levels(snapshot: &Snapshot, request: &mut Request) -> Result<(), StoreError> {
    let Some(block) = &mut request.block else {
        return Ok(());
    };
    let length = snapshot.tree().length();
    let Some(at) = Position::of_block(block.index) else {
        return Ok(());
    };
    let missing = merkle::missing_nodes(at, length, snapshot);
    // A proof up to the root always does.
    block.nodes = missing.unwrap_or_else(|_| merkle::missing_nodes_at_most(at, length));
    Ok(())
}

/// Whether all roots of a shorter tree are stored, so that it can be grown to ours.
pub(crate) fn can_upgrade(snapshot: &Snapshot, check: Check) -> bool {
    let head = snapshot.head();
    head.fork == check.fork
        && check.remote_length < head.length
        && flat_tree::roots(check.remote_length).all(|root| matches!(snapshot.node(root), Ok(Some(_))))
}
