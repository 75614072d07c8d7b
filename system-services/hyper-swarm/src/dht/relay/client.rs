//! Meeting another peer at a relay.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_core::crypto::KeyPair;
use hyper_core::link::Link;
use hyper_core::mux::{ChannelSpec, Event, Input, Mux};

use super::messages::{PROTOCOL, Pair, RelayMessage};
use crate::dht::Dht;
use crate::dht::connect::{ConnectError, ConnectOptions, PathKind, Way};
use crate::dht::messages::RelayThrough;

/// So long the other end is waited for at the relay; the peer's figure.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which relay two peers meet at, and which of the two we are.
#[derive(Clone, Debug)]
pub struct Meeting {
    relay: RelayThrough,
    is_initiator: bool,
}

impl Meeting {
    /// `is_initiator`: we have chosen the relay.
    #[must_use]
    pub fn new(relay: RelayThrough, is_initiator: bool) -> Self {
        Self { relay, is_initiator }
    }
}

/// Why two peers did not meet.
#[derive(Debug, thiserror::Error)]
pub enum MeetError {
    /// No connection.
    #[error("the relay cannot be reached")]
    Unreachable(#[source] Box<ConnectError>),
    /// It closed the connection or the channel, or speaks another protocol.
    #[error("the relay does not relay")]
    Refused,
    /// The other end did not come.
    #[error("the peer did not come to the relay")]
    NobodyCame,
    /// No key for the connection to the relay.
    #[error("no random numbers for a connection to a relay")]
    Random(#[source] getrandom::Error),
}

/// Connects to the relay and waits there for the other end. The way leads to the relay, which passes on what comes.
///
/// It contains a connection, which may contain this: it has a place and a type of its own.
///
/// # Errors
/// [`MeetError`].
pub fn meet<'a>(
    dht: &'a Dht,
    meeting: &'a Meeting,
    stream_id: u32,
) -> Pin<Box<dyn Future<Output = Result<Way, MeetError>> + Send + 'a>> {
    Box::pin(async move {
        tokio::time::timeout(PATIENCE, meet_there(dht, meeting, stream_id))
            .await
            .unwrap_or(Err(MeetError::NobodyCame))
    })
}

async fn meet_there(dht: &Dht, meeting: &Meeting, stream_id: u32) -> Result<Way, MeetError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(MeetError::Random)?;
    // The relay need not know who we are.
    let keys = KeyPair::from_seed(&seed);
    let mut relay = dht
        .connect(meeting.relay.public_key, &keys, &ConnectOptions::default())
        .await
        .map_err(|error| MeetError::Unreachable(Box::new(error)))?;
    let pair = Pair {
        is_initiator: meeting.is_initiator,
        token: meeting.relay.token,
        stream_id,
        seq: 0,
    };
    let there = wait(&mut relay.connection.link, &keys.public_key(), pair).await;
    let stream_id = there.ok_or(MeetError::Refused)?;
    let socket = relay.stream.socket().ok_or(MeetError::Refused)?;
    Ok(Way {
        socket,
        address: relay.remote_address,
        kind: PathKind::Relayed,
        stream_id: Some(stream_id),
        keep: Some(Arc::new(relay.connection)),
    })
}

/// Asks the relay for the pair; the number of the stream there, when the other end has come.
async fn wait(link: &mut Link, id: &[u8; 32], pair: Pair) -> Option<u32> {
    let mut mux = Mux::default();
    let spec = ChannelSpec {
        id,
        ..ChannelSpec::new(PROTOCOL)
    };
    let ours = mux.open(spec, b"").ok()?;
    let message = RelayMessage::Pair(pair);
    mux.send(ours, message.kind(), &message.encode()).ok()?;
    loop {
        while let Some(frame) = mux.poll_frame() {
            link.outgoing.send(frame).await.ok()?;
        }
        let frame = link.incoming.recv().await?;
        let mut input = Input::new(&frame);
        while let Some(event) = mux.next_event(&mut input).ok()? {
            match event {
                Event::Message {
                    channel,
                    kind,
                    payload,
                } if channel == ours => {
                    if let Ok(Some(RelayMessage::Pair(theirs))) = RelayMessage::decode(kind, &payload)
                        && (theirs.token, theirs.is_initiator) == (pair.token, pair.is_initiator)
                    {
                        return Some(theirs.stream_id);
                    }
                }
                Event::Closed { channel, .. } if channel == ours => return None,
                _ => {}
            }
        }
    }
}
