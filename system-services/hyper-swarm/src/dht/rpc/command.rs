//! What can be asked of a node.

/// A request's command. Two number spaces: dht-rpc's own (*internal*) and HyperDHT's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Are you there?
    Ping,
    /// Answer to another port of mine: is it open to strangers?
    PingNat,
    /// Which nodes do you know near the target?
    FindNode,
    /// A node that you named does not answer.
    DownHint,
    /// A ping that is answered after a while: how long does a NAT keep a mapping?
    DelayedPing,
    /// First message of a connection to a peer, forwarded by nodes that know it.
    PeerHandshake,
    /// What both ends of a connection tell each other to get through their NATs.
    PeerHolepunch,
    /// Who has the public key whose hash is the target?
    FindPeer,
    /// Who announced themselves under the target?
    Lookup,
    /// I am under the target.
    Announce,
    /// I am not under the target any more.
    Unannounce,
    /// Store a signed record.
    MutablePut,
    /// Give a signed record.
    MutableGet,
    /// Store a value under its hash.
    ImmutablePut,
    /// Give the value of a hash.
    ImmutableGet,
    /// For extensions that a program registered.
    Plugin,
    /// A number of dht-rpc's that is not known here.
    UnknownInternal(u64),
    /// A number of HyperDHT's, or of a program's, that is not known here.
    Unknown(u64),
}

use Command::*;

const INTERNAL: [Command; 5] = [Ping, PingNat, FindNode, DownHint, DelayedPing];

const EXTERNAL: [Command; 11] = [
    PeerHandshake,
    PeerHolepunch,
    FindPeer,
    Lookup,
    Announce,
    Unannounce,
    MutablePut,
    MutableGet,
    ImmutablePut,
    ImmutableGet,
    Plugin,
];

impl Command {
    /// The command of a number of dht-rpc's (`internal`) or of HyperDHT's.
    pub fn from_wire(internal: bool, number: u64) -> Self {
        let (known, unknown): (&[Self], Self) = match internal {
            true => (&INTERNAL, UnknownInternal(number)),
            false => (&EXTERNAL, Unknown(number)),
        };
        let at = usize::try_from(number).ok();
        at.and_then(|at| known.get(at)).copied().unwrap_or(unknown)
    }

    /// Whether its number is dht-rpc's, and the number.
    pub fn to_wire(self) -> (bool, u64) {
        let place = |known: &[Self]| known.iter().position(|command| *command == self);
        match (self, place(&INTERNAL), place(&EXTERNAL)) {
            (UnknownInternal(number), ..) => (true, number),
            (Unknown(number), ..) => (false, number),
            (_, Some(number), _) => (true, number as u64),
            (_, _, number) => (false, number.unwrap_or_default() as u64),
        }
    }
}
