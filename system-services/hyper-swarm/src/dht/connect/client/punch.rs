//! The client's side of a holepunch: it leads. First each end learns what the other's NAT is like, then both punch.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::find::Found;
use crate::dht::connect::{ConnectError, PathKind, Way};
use crate::dht::holepunch::{Hole, NONCE_BYTES, Puncher, Sealer};
use crate::dht::messages::{
    ErrorCode, Firewall, HolepunchInfo, HolepunchMessage, HolepunchPayload, Mode, RelayInfo,
};
use crate::dht::{Command, Dht, Outgoing, Reply, SendOptions};

/// A server that does not know its NAT yet gets so much time to find out.
const UNSURE: Duration = Duration::from_secs(1);
/// Times that the NATs are looked at: once more if something was not clear, and once more if the socket was changed.
const PROBES: usize = 3;

pub(super) struct Punching<'a> {
    pub(super) dht: &'a Dht,
    pub(super) target: [u8; 32],
    pub(super) found: &'a Found,
    pub(super) holepunch: &'a HolepunchInfo,
}

/// Why the leading ends before its last line: with a hole, or without.
enum Stop {
    Hole(Hole),
    Failed(ConnectError),
}

impl From<ConnectError> for Stop {
    fn from(error: ConnectError) -> Self {
        Self::Failed(error)
    }
}

/// The server's answer to a step.
struct Answered {
    reply: Reply,
    payload: HolepunchPayload,
    server: SocketAddrV4,
}

/// What is known when both NATs are.
struct Probed {
    token: Option<[u8; 32]>,
    server: SocketAddrV4,
}

struct Lead<'a> {
    punching: &'a Punching<'a>,
    puncher: Puncher,
    sealer: Sealer,
    round: u64,
}

impl Punching<'_> {
    /// Punches a hole.
    pub(super) async fn run(&self) -> Result<Way, ConnectError> {
        let mut token_key = [0; 32];
        getrandom::fill(&mut token_key).map_err(ConnectError::Random)?;
        let puncher =
            Puncher::new(self.dht, true, self.found.theirs.firewall).map_err(ConnectError::Socket)?;
        let mut lead = Lead {
            punching: self,
            puncher,
            sealer: Sealer::new(self.found.agreed.holepunch_key.clone(), token_key),
            round: 0,
        };
        let hole = match lead.punch().await {
            Ok(hole) | Err(Stop::Hole(hole)) => hole,
            Err(Stop::Failed(error)) => return Err(error),
        };
        Way::by(self.dht, hole.socket, hole.address, PathKind::Punched).ok_or(ConnectError::NoWay)
    }

    /// Of the nodes that pass the server's messages on, the one that we have talked to, or else the first.
    fn server_relay(&self) -> Option<RelayInfo> {
        let relays = &self.holepunch.relays;
        let same = relays.iter().find(|relay| relay.relay_address == self.found.node);
        same.or(relays.first()).copied()
    }
}

impl Lead<'_> {
    async fn punch(&mut self) -> Result<Hole, Stop> {
        let relay = self.punching.server_relay().ok_or(ConnectError::NoWay)?;
        let found = self.punching.found;
        let probed = match self.probe(relay).await {
            Ok(probed) => probed,
            Err(Stop::Failed(error)) => {
                self.give_up(relay).await;
                return Err(error.into());
            }
            Err(hole) => return Err(hole),
        };
        let mut server = found.server_address;
        if relay.relay_address == found.node && server != probed.server {
            // It has changed its socket; the node has seen the new one.
            server = probed.server;
            self.puncher.open_session(server);
        }
        // What the server is told now stands.
        self.puncher.nat.freeze();
        let step = HolepunchPayload {
            punching: true,
            token: Some(self.sealer.token(server.ip())),
            remote_token: probed.token,
            ..self.step()
        };
        self.ask(server, found.node, step).await?;
        if !self.puncher.remote.is_punching() {
            return Err(ConnectError::NotPunching.into());
        }
        if !self.puncher.start() {
            return Err(ConnectError::NotPunchable {
                ours: self.puncher.nat.firewall(),
                theirs: self.puncher.remote.firewall(),
            }
            .into());
        }
        self.puncher.hole().await.ok_or(ConnectError::PunchFailed.into())
    }

    /// Until both NATs are judged.
    async fn probe(&mut self, relay: RelayInfo) -> Result<Probed, Stop> {
        let mut has_reopened = false;
        for turn in 0..PROBES {
            self.puncher.open_session(self.punching.found.server_address);
            let step = HolepunchPayload {
                remote_address: Some(self.punching.found.server_address),
                ..self.step()
            };
            let answered = self.ask(relay.peer_address, relay.relay_address, step).await?;
            self.puncher.nat.add(answered.reply.to, answered.reply.from);
            if self.puncher.remote.firewall() == Firewall::Unknown {
                self.pause(UNSURE).await?;
            }
            if !self.analyze(false).await?
                && !std::mem::replace(&mut has_reopened, true)
                && self.analyze(true).await?
            {
                continue;
            }
            let (ours, theirs) = (self.puncher.nat.firewall(), self.puncher.remote.firewall());
            let token = answered.payload.token;
            if turn == 0 && (theirs == Firewall::Unknown || token.is_none()) {
                continue;
            }
            if [ours, theirs].contains(&Firewall::Unknown)
                || (ours, theirs) == (Firewall::Random, Firewall::Random)
            {
                return Err(ConnectError::NotPunchable { ours, theirs }.into());
            }
            let server = answered.server;
            return Ok(Probed { token, server });
        }
        Err(ConnectError::NotPunchable {
            ours: self.puncher.nat.firewall(),
            theirs: self.puncher.remote.firewall(),
        }
        .into())
    }

    async fn analyze(&mut self, may_reopen: bool) -> Result<bool, Stop> {
        let is_stable = self.puncher.analyze(may_reopen).await;
        Ok(is_stable.map_err(ConnectError::Socket)?)
    }

    /// Waits, unless the hole is there before.
    async fn pause(&mut self, time: Duration) -> Result<(), Stop> {
        match tokio::time::timeout(time, self.puncher.hole()).await {
            Ok(Some(hole)) => Err(Stop::Hole(hole)),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The next step, with what we know of our NAT.
    fn step(&mut self) -> HolepunchPayload {
        let round = self.round;
        self.round += 1;
        HolepunchPayload {
            firewall: self.puncher.nat.firewall(),
            round,
            addresses: self.puncher.nat.addresses().map(<[_]>::to_vec),
            ..HolepunchPayload::default()
        }
    }

    /// Takes a step with the server, which the node `through` sees at `server`.
    async fn ask(
        &mut self,
        server: SocketAddrV4,
        through: SocketAddrV4,
        step: HolepunchPayload,
    ) -> Result<Answered, Stop> {
        let (request, options) = self.request(server, through, &step)?;
        let reply = tokio::select! {
            reply = self.punching.dht.request_with(request, &options) => reply.map_err(ConnectError::Request)?,
            Some(hole) = self.puncher.hole() => return Err(Stop::Hole(hole)),
        };
        let message = reply
            .value
            .as_deref()
            .and_then(|value| HolepunchMessage::decode(value).ok());
        let message = message.filter(|message| message.mode == Mode::Reply);
        let message = message.ok_or(ConnectError::Answer(through))?;
        let payload = self
            .sealer
            .open(&message.payload)
            .ok_or(ConnectError::Answer(through))?;
        if payload.error != ErrorCode::None {
            return Err(ConnectError::GaveUp(payload.error).into());
        }
        // Sent back through a node that the server chose: it does receive at that host.
        let is_echoed = step.token.is_some() && payload.remote_token == step.token;
        self.puncher
            .remote
            .update(&payload, is_echoed.then_some(*server.ip()));
        Ok(Answered {
            server: message.peer_address.unwrap_or(through),
            reply,
            payload,
        })
    }

    fn request(
        &self,
        server: SocketAddrV4,
        through: SocketAddrV4,
        step: &HolepunchPayload,
    ) -> Result<(Outgoing, SendOptions), ConnectError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(ConnectError::Random)?;
        let message = HolepunchMessage {
            mode: Mode::FromClient,
            id: self.punching.holepunch.id,
            payload: self.sealer.seal(step, nonce),
            peer_address: Some(server),
        };
        let mut request = Outgoing::new(through, Command::PeerHolepunch);
        request.target = Some(self.punching.target);
        request.value = Some(message.encode());
        let options = SendOptions {
            socket: Some(self.puncher.socket()),
            ..SendOptions::default()
        };
        Ok((request, options))
    }

    /// Tells the server that we do.
    async fn give_up(&mut self, relay: RelayInfo) {
        let step = HolepunchPayload {
            error: ErrorCode::Aborted,
            firewall: Firewall::Unknown,
            addresses: None,
            ..self.step()
        };
        if let Ok((request, options)) = self.request(relay.peer_address, relay.relay_address, &step) {
            // One packet has to do: it costs us no time, and the server some if it is lost.
            let once = SendOptions {
                retries: 0,
                ..options
            };
            let wait = Duration::from_millis(500);
            let _ = tokio::time::timeout(wait, self.punching.dht.request_with(request, &once)).await;
        }
    }
}
