//! Which channels there are: the ids of both ends, and the names by which they find each other.

use std::collections::{HashMap, VecDeque};

use super::ChannelId;

/// What a channel is called: the protocol, and an id within it that may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) protocol: Box<str>,
    pub(super) id: Box<[u8]>,
}

impl Name {
    pub(super) fn new(protocol: &str, id: &[u8]) -> Self {
        Self {
            protocol: protocol.into(),
            id: id.into(),
        }
    }
}

/// All channels of one name.
#[derive(Debug, Default)]
struct Group {
    /// Ours that are not closed, whether the peer has answered or not.
    live: usize,
    /// Our ids that the peer has not answered, oldest first; closed ones are still among them.
    outgoing: VecDeque<u64>,
    /// The peer's ids that we have not answered, oldest first.
    incoming: VecDeque<u64>,
}

/// One of our ids on the wire.
#[derive(Debug)]
enum Local {
    Free,
    /// The peer has not answered.
    Opening(ChannelId),
    /// We closed it before the peer answered; the id is free when it has.
    Abandoned(Vec<Name>),
    Open,
}

/// A channel of ours.
#[derive(Debug)]
pub(super) struct Channel {
    /// Our id on the wire.
    pub(super) local: u64,
    /// The peer's id on the wire, once it has opened its end.
    remote: Option<u64>,
    names: Vec<Name>,
}

/// A message for a channel that we have not accepted yet.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) kind: u64,
    pub(super) payload: Box<[u8]>,
}

/// A channel that the peer opened and that we have not answered.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) handshake: Box<[u8]>,
    pub(super) messages: VecDeque<Buffered>,
    /// The peer has closed it already.
    pub(super) closed: bool,
}

/// One of the peer's ids on the wire.
#[derive(Debug)]
pub(super) enum Remote {
    Waiting(Waiting),
    Open(ChannelId),
}

/// How one of our waiting channels was answered.
pub(super) enum Answered {
    /// It is open now.
    Opened(ChannelId),
    /// We had closed it in the meantime.
    Abandoned,
}

/// Both ends' ids. Keeps nothing for ids of the peer that are not in use, whatever it did with them.
#[derive(Debug, Default)]
pub(super) struct Table {
    next_channel: u64,
    channels: HashMap<ChannelId, Channel>,
    /// Index: our id less one, for ids count from 1.
    locals: Vec<Local>,
    /// The last that became free is used first, as the peer does.
    free: Vec<u64>,
    remotes: HashMap<u64, Remote>,
    /// The greatest id that the peer has used.
    remote_high: u64,
    groups: HashMap<Name, Group>,
}

impl Table {
    pub(super) fn channel(&self, channel: ChannelId) -> Option<&Channel> {
        self.channels.get(&channel)
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.channels.keys().copied()
    }

    pub(super) fn remote(&mut self, remote: u64) -> Option<&mut Remote> {
        self.remotes.get_mut(&remote)
    }

    pub(super) fn is_live(&self, name: &Name) -> bool {
        self.groups.get(name).is_some_and(|group| group.live > 0)
    }

    /// The peer may use this id for a new channel: it is not in use and at most one beyond the greatest so far.
    pub(super) fn claim_remote(&mut self, remote: u64) -> bool {
        let valid = remote > 0 && remote <= self.remote_high + 1 && !self.remotes.contains_key(&remote);
        if valid {
            self.remote_high = self.remote_high.max(remote);
        }
        valid
    }

    /// Makes a channel of ours. When the peer waits for one of that name, they are a pair at once, and what waited is
    /// returned.
    pub(super) fn open(&mut self, names: Vec<Name>) -> (ChannelId, u64, Option<Waiting>) {
        let channel = ChannelId(self.next_channel);
        self.next_channel += 1;
        let local = self.free.pop().unwrap_or_else(|| {
            self.locals.push(Local::Free);
            self.locals.len() as u64
        });
        let incoming = names.iter().find_map(|name| self.pop_incoming(name));
        let (remote, waiting) = incoming.unzip();
        match remote {
            Some(remote) => {
                self.set_local(local, Local::Open);
                self.remotes.insert(remote, Remote::Open(channel));
            }
            None => self.set_local(local, Local::Opening(channel)),
        }
        for name in &names {
            let group = self.groups.entry(name.clone()).or_default();
            group.live += 1;
            if remote.is_none() {
                group.outgoing.push_back(local);
            }
        }
        let made = Channel { local, remote, names };
        self.channels.insert(channel, made);
        (channel, local, waiting)
    }

    /// The peer opens a channel of that name: the oldest of ours that waits for it is answered.
    pub(super) fn answer(&mut self, name: &Name, remote: u64) -> Option<Answered> {
        let local = *self.groups.get(name)?.outgoing.front()?;
        let answered = self.take_outgoing(local)?;
        if let Answered::Opened(channel) = answered {
            self.set_local(local, Local::Open);
            self.remotes.insert(remote, Remote::Open(channel));
            if let Some(opened) = self.channels.get_mut(&channel) {
                opened.remote = Some(remote);
            }
        }
        Some(answered)
    }

    /// The peer refuses a channel of ours. `None`: there is none of that id that waits.
    pub(super) fn refused(&mut self, local: u64) -> Option<Answered> {
        let answered = self.take_outgoing(local)?;
        if let Answered::Opened(channel) = answered {
            self.free(local);
            if let Some(channel) = self.channels.remove(&channel) {
                self.end_live(&channel.names);
            }
        }
        Some(answered)
    }

    /// The peer opens a channel for which there is none of ours yet.
    pub(super) fn wait(&mut self, name: Name, remote: u64, waiting: Waiting) {
        self.remotes.insert(remote, Remote::Waiting(waiting));
        self.groups.entry(name).or_default().incoming.push_back(remote);
    }

    /// Takes the oldest channel of the peer that waits under that name; its id is unused then.
    pub(super) fn pop_incoming(&mut self, name: &Name) -> Option<(u64, Waiting)> {
        let remote = self.groups.get_mut(name)?.incoming.pop_front()?;
        self.collect(name);
        match self.remotes.remove(&remote) {
            Some(Remote::Waiting(waiting)) => Some((remote, waiting)),
            _ => None,
        }
    }

    /// Closes a channel of ours, whoever wants it. Returns our id on the wire.
    pub(super) fn close(&mut self, channel: ChannelId) -> Option<u64> {
        let Channel { local, remote, names } = self.channels.remove(&channel)?;
        self.end_live(&names);
        match remote {
            Some(remote) => {
                self.remotes.remove(&remote);
                self.free(local);
            }
            None => self.set_local(local, Local::Abandoned(names)),
        }
        Some(local)
    }

    /// Ends the wait of one of our ids, under all its names; a channel that was closed while it waited gives its id
    /// back.
    fn take_outgoing(&mut self, local: u64) -> Option<Answered> {
        let slot = self
            .locals
            .get_mut(usize::try_from(local.checked_sub(1)?).ok()?)?;
        let (answered, names) = match slot {
            Local::Opening(channel) => {
                let channel = *channel;
                let names = self.channels.get(&channel)?.names.clone();
                (Answered::Opened(channel), names)
            }
            Local::Abandoned(names) => (Answered::Abandoned, std::mem::take(names)),
            Local::Free | Local::Open => return None,
        };
        for name in &names {
            if let Some(group) = self.groups.get_mut(name) {
                group.outgoing.retain(|waiting| *waiting != local);
            }
            self.collect(name);
        }
        if let Answered::Abandoned = answered {
            self.free(local);
        }
        Some(answered)
    }

    fn end_live(&mut self, names: &[Name]) {
        for name in names {
            if let Some(group) = self.groups.get_mut(name) {
                group.live = group.live.saturating_sub(1);
            }
            self.collect(name);
        }
    }

    /// Forgets a name that nobody uses.
    fn collect(&mut self, name: &Name) {
        let unused =
            |group: &Group| group.live == 0 && group.outgoing.is_empty() && group.incoming.is_empty();
        if self.groups.get(name).is_some_and(unused) {
            self.groups.remove(name);
        }
    }

    fn free(&mut self, local: u64) {
        self.set_local(local, Local::Free);
        self.free.push(local);
    }

    fn set_local(&mut self, local: u64, state: Local) {
        let index = usize::try_from(local.saturating_sub(1)).ok();
        if let Some(slot) = index.and_then(|index| self.locals.get_mut(index)) {
            *slot = state;
        }
    }

    /// What the table holds, for tests of its limits: names, ids of the peer, ids of ours.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.groups.len(), self.remotes.len(), self.locals.len())
    }
}
