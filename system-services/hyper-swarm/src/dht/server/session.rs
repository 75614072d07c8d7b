//! One handshake of a server, from the request to the connection.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::{ServerCore, is_same};
use crate::dht::connect::peers;
use crate::dht::connect::{
    Agreed, Found, PathKind, PeerConnection, RawStream, Seeking, ServerHandshake, Way, is_private,
    local_addresses, on_the_same_network,
};
use crate::dht::holepunch::{NONCE_BYTES, Puncher, Sealer};
use crate::dht::messages::{
    ErrorCode, Firewall, HolepunchInfo, HolepunchPayload, NoisePayload, ReadPayload, RelayThrough, UdxInfo,
};
use crate::dht::relay::{Meeting, meet};
use crate::dht::router::{ServeHandshake, ServeHolepunch};
use crate::dht::{Dht, Incoming, SocketId};

/// From the answer on, so long may it take until punching begins or something arrives.
const PATIENCE: Duration = Duration::from_secs(10);
/// A client that can come by itself has come by then; else it is waited for at the relay, if there is one.
const COMING: Duration = Duration::from_secs(2);
/// So long a handshake is remembered after its end: its request may come again through another node. By then the client was heard
/// in the connection, or there is none: whoever forges addresses makes connections to nobody.
const MEMORY: Duration = Duration::from_secs(10);

/// A client's request.
pub(super) struct Asked {
    pub(super) incoming: Incoming,
    pub(super) serve: ServeHandshake,
    pub(super) handshake: ServerHandshake,
}

/// A client's step of a holepunch.
#[derive(Debug)]
pub(super) struct PunchRequest {
    pub(super) incoming: Incoming,
    pub(super) serve: ServeHolepunch,
}

/// How the two come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Approach {
    /// The client is reached at its address.
    Reach(SocketAddrV4),
    /// The client comes.
    Wait,
    /// The client may come by a short way; else a hole is punched.
    WaitOrPunch,
    /// A hole is punched, from the socket that answers.
    Punch,
}

/// One handshake.
pub(super) struct Session {
    dht: Dht,
    core: Arc<ServerCore>,
    id: usize,
    punches: mpsc::Receiver<PunchRequest>,
    puncher: Option<Puncher>,
    sealer: Option<Sealer>,
    round: u64,
    relay: Option<Meeting>,
}

impl Session {
    pub(super) fn new(
        dht: Dht,
        core: Arc<ServerCore>,
        id: usize,
        punches: mpsc::Receiver<PunchRequest>,
    ) -> Self {
        Self {
            dht,
            core,
            id,
            punches,
            puncher: None,
            sealer: None,
            round: 0,
            relay: None,
        }
    }

    /// The whole of it.
    pub(super) async fn run(self, asked: Asked) {
        let (core, id) = (self.core.clone(), self.id);
        let accepted = core.accepted.clone();
        let connection = tokio::select! {
            connection = self.connection(asked) => connection,
            () = accepted.closed() => return,
        };
        let handle = connection
            .as_ref()
            .map(|connection| connection.connection.handle.clone());
        if let Some(connection) = connection
            && let Err(refused) = accepted.try_send(connection)
        {
            tracing::debug!("connection dropped: too many wait to be accepted");
            refused.into_inner().connection.handle.destroy();
        }
        tokio::select! {
            () = sleep(MEMORY) => core.forget(id),
            () = accepted.closed() => {}
        }
        if let Some(handle) = handle.filter(|handle| !handle.is_heard()) {
            handle.destroy();
        }
    }

    async fn connection(mut self, asked: Asked) -> Option<PeerConnection> {
        let Asked {
            incoming,
            serve,
            handshake,
        } = asked;
        let theirs = match handshake.payload() {
            ReadPayload::Known(payload) => Ok(payload.clone()),
            ReadPayload::OtherVersion(_) => Err(ErrorCode::VersionMismatch),
        };
        let theirs = theirs.and_then(|payload| match payload.udx {
            Some(udx) => Ok((payload, udx)),
            None => Err(ErrorCode::Aborted),
        });
        let mut stream = RawStream::new(&self.dht).ok()?;
        let stream_id = theirs.is_ok().then(|| stream.id());
        let error = *theirs.as_ref().err().unwrap_or(&ErrorCode::None);
        let ours = self.describe(error, stream_id);
        let (reply, agreed) = handshake.reply(&ours).ok()?;
        let Ok((theirs, udx)) = theirs else {
            self.reply(&incoming, &serve, reply, None);
            return None;
        };
        let approach = self.approach(&serve, &incoming, &theirs);
        let socket = self.prepare(approach, &theirs, &agreed);
        self.choose_relay(&ours, &theirs);
        self.reply(&incoming, &serve, reply, socket);
        let core = self.core.clone();
        let found = match approach {
            Approach::Reach(address) => {
                let socket = if serve.direct {
                    incoming.socket
                } else {
                    self.dht.current_socket()
                };
                Found::only(Way::by(&self.dht, socket, address, PathKind::Direct)?)
            }
            _ => self.reached(&mut stream, approach).await?,
        };
        let options = &core.options.connection;
        stream.start(found, udx.id, &agreed.session, options).ok()
    }

    /// What we say of ourselves.
    fn describe(&self, error: ErrorCode, stream_id: Option<u32>) -> NoisePayload {
        let public = self.dht.remote_address();
        let local = match self.core.options.share_local_address {
            true => local_addresses(self.dht.local_address()),
            false => Vec::new(),
        };
        let relays = self.core.announced(super::Announcer::relay_addresses);
        let mut token = [0; 32];
        let has_token = getrandom::fill(&mut token).is_ok();
        let relay_through = self.core.options.relay_through.filter(|_| has_token);
        NoisePayload {
            error,
            firewall: match public {
                Some(_) => Firewall::Open,
                None => Firewall::Unknown,
            },
            holepunch: public.is_none().then(|| HolepunchInfo {
                id: self.id as u64,
                relays: self.core.relays(),
            }),
            addresses4: public.into_iter().chain(local).collect(),
            addresses6: Vec::new(),
            udx: Some(UdxInfo {
                reusable_socket: false,
                id: stream_id.unwrap_or(0),
                seq: 0,
            }),
            secret_stream: Some(1),
            relay_through: relay_through.map(|public_key| RelayThrough { public_key, token }),
            relay_addresses: relays.filter(|relays| !relays.is_empty()),
        }
    }

    fn approach(&self, serve: &ServeHandshake, incoming: &Incoming, theirs: &NoisePayload) -> Approach {
        if serve.direct || theirs.firewall == Firewall::Open {
            return Approach::Reach(serve.client);
        }
        let options = &self.core.options;
        let is_same_host = serve.client.ip() == incoming.to.ip();
        if is_same_host && options.share_local_address {
            let on_their_networks: Vec<_> = theirs
                .addresses4
                .iter()
                .copied()
                .filter(|address| is_private(address.ip()))
                .collect();
            let ours = local_addresses(self.dht.local_address());
            if on_the_same_network(&ours, &on_their_networks).is_some() {
                return Approach::WaitOrPunch;
            }
        }
        if self.dht.remote_address().is_some() || !options.holepunch {
            return Approach::Wait;
        }
        Approach::Punch
    }

    /// Opens what the approach needs. The socket that the answer is to be sent from, if it matters.
    fn prepare(&mut self, approach: Approach, theirs: &NoisePayload, agreed: &Agreed) -> Option<SocketId> {
        if !matches!(approach, Approach::Punch | Approach::WaitOrPunch) {
            return None;
        }
        let mut token_key = [0; 32];
        getrandom::fill(&mut token_key).ok()?;
        self.sealer = Some(Sealer::new(agreed.holepunch_key.clone(), token_key));
        self.puncher = Puncher::new(&self.dht, false, theirs.firewall).ok();
        let puncher = self.puncher.as_ref().filter(|_| approach == Approach::Punch);
        puncher.map(Puncher::socket)
    }

    /// Our own choice of a relay comes before the client's.
    fn choose_relay(&mut self, ours: &NoisePayload, theirs: &NoisePayload) {
        let own = ours.relay_through.clone().map(|relay| Meeting::new(relay, true));
        let other = theirs
            .relay_through
            .clone()
            .map(|relay| Meeting::new(relay, false));
        self.relay = own.or(other);
    }

    fn reply(&self, incoming: &Incoming, serve: &ServeHandshake, reply: Vec<u8>, socket: Option<SocketId>) {
        let send = serve.answer(reply.clone(), incoming.from);
        peers::answer(&self.dht, incoming, send, socket);
        self.core.replied(self.id, reply, socket);
    }

    /// Until the client is reached, by whatever way.
    async fn reached(mut self, stream: &mut RawStream, approach: Approach) -> Option<Found<()>> {
        let (dht, stream_id) = (self.dht.clone(), stream.id());
        let relayed = self.relay.clone().map(|meeting| async move {
            meet(&dht, &meeting, stream_id)
                .await
                .inspect_err(|error| tracing::debug!(%error, "no connection by a relay"))
                .map_err(drop)
        });
        let head_start = match approach {
            Approach::Wait => COMING.min(self.core.options.relay_grace),
            _ => self.core.options.relay_grace,
        };
        let direct: Seeking<()> = Box::pin(async move { self.direct(approach).await.ok_or(()) });
        let mut found = stream.way(direct, relayed, head_start).await.ok()?;
        if approach == Approach::Punch && found.way.kind == PathKind::Direct {
            found.way.kind = PathKind::Punched;
        }
        Some(found)
    }

    /// Until the client is reached directly, unless it comes by itself; `None` when there is no hope.
    async fn direct(&mut self, approach: Approach) -> Option<Way> {
        let patience = Instant::now() + PATIENCE;
        let mut is_over = false;
        loop {
            let is_punching = self.puncher.as_ref().is_some_and(Puncher::is_punching);
            let puncher = &mut self.puncher;
            let punching = async {
                match puncher {
                    Some(puncher) => puncher.hole().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(request) = self.punches.recv() => is_over |= !self.step(request).await,
                hole = punching => match hole {
                    Some(hole) => return Way::by(&self.dht, hole.socket, hole.address, PathKind::Punched),
                    None => return None,
                },
                () = sleep_until(patience), if !is_punching => return None,
            }
            if std::mem::take(&mut is_over) {
                self.puncher = None;
                // Clients try the short way at the same time as they punch.
                if approach != Approach::WaitOrPunch {
                    return None;
                }
            }
        }
    }

    /// Takes a step of a holepunch and answers it. `false`: it is given up.
    async fn step(&mut self, request: PunchRequest) -> bool {
        let Some(theirs) = self.sealer.as_ref().and_then(|s| s.open(&request.serve.payload)) else {
            // Not opened, or not the client's: a stranger ends nothing.
            return true;
        };
        match self.consider(&request, &theirs).await {
            Ok(answer) => {
                let socket = self.puncher.as_ref().map(Puncher::socket);
                self.answer(&request, &answer, socket);
                true
            }
            Err(error) => {
                let abort = HolepunchPayload {
                    error,
                    round: self.round,
                    ..HolepunchPayload::default()
                };
                self.answer(&request, &abort, Some(self.dht.current_socket()));
                false
            }
        }
    }

    fn answer(&self, request: &PunchRequest, payload: &HolepunchPayload, socket: Option<SocketId>) {
        let mut nonce = [0; NONCE_BYTES];
        let (Some(sealer), Ok(())) = (&self.sealer, getrandom::fill(&mut nonce)) else {
            return;
        };
        let sealed = sealer.seal(payload, nonce);
        let send = request.serve.answer(sealed, request.incoming.from);
        peers::answer(&self.dht, &request.incoming, send, socket);
    }

    /// The answer to a step, or with which error it is all over.
    async fn consider(
        &mut self,
        request: &PunchRequest,
        theirs: &HolepunchPayload,
    ) -> Result<HolepunchPayload, ErrorCode> {
        let (incoming, client) = (&request.incoming, request.serve.client);
        let (Some(sealer), Some(puncher)) = (&self.sealer, &mut self.puncher) else {
            return Err(ErrorCode::Aborted);
        };
        if theirs.error != ErrorCode::None {
            return Err(ErrorCode::Aborted);
        }
        // Only a node that we chose ourselves is no accomplice of a client that names somebody else's address.
        let is_relay = self.core.is_relay(incoming.from);
        let token = sealer.token(client.ip());
        let is_echoed = is_relay && is_same(&token, theirs.remote_token.as_ref());
        if incoming.socket == puncher.socket() {
            puncher.nat.add(incoming.to, incoming.from);
        }
        if theirs.round >= self.round {
            self.round = theirs.round;
            puncher.remote.update(theirs, is_echoed.then_some(*client.ip()));
        }
        let is_stable = puncher.analyze(false).await.map_err(|_| ErrorCode::Aborted)?;
        if !puncher.remote.is_punching() && !is_stable {
            let is_stable = puncher.analyze(true).await.map_err(|_| ErrorCode::Aborted)?;
            if !is_stable {
                return Err(ErrorCode::Aborted);
            }
        }
        // The client has just opened its NAT to where we are seen: perhaps that is already enough.
        let is_consistent = matches!(puncher.nat.firewall(), Firewall::Open | Firewall::Consistent);
        let ours = puncher.nat.addresses().unwrap_or_default();
        if is_consistent
            && theirs
                .remote_address
                .is_some_and(|address| ours.contains(&address))
        {
            puncher.ping(client);
        }
        let error = punch(&self.dht, puncher, self.relay.is_some())?;
        if puncher.nat.firewall() != Firewall::Unknown {
            // What the client is told stands.
            puncher.nat.freeze();
        }
        Ok(HolepunchPayload {
            error,
            firewall: puncher.nat.firewall(),
            round: self.round,
            connected: false,
            punching: puncher.is_punching(),
            addresses: puncher.nat.addresses().map(<[_]>::to_vec),
            remote_address: None,
            token: is_relay.then_some(token),
            remote_token: theirs.token,
        })
    }
}

/// Begins to punch, if the client is willing to. What the client is told; an error is the end, unless it has another way.
fn punch(dht: &Dht, puncher: &mut Puncher, has_other_way: bool) -> Result<ErrorCode, ErrorCode> {
    if !puncher.remote.is_punching() || puncher.is_punching() {
        return Ok(ErrorCode::None);
    }
    let firewalls = [puncher.remote.firewall(), puncher.nat.firewall()];
    if firewalls.contains(&Firewall::Random) && !dht.peers().may_punch_at_random() {
        return match has_other_way {
            true => Ok(ErrorCode::TryLater),
            false => Err(ErrorCode::TryLater),
        };
    }
    match puncher.start() {
        true => Ok(ErrorCode::None),
        false => Err(ErrorCode::Aborted),
    }
}
