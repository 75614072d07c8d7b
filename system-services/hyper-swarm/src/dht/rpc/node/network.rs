//! Finding the first nodes, and finding out whether strangers reach us.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::super::address::node_id;
use super::super::command::Command;
use super::super::nat_sampler::NatSampler;
use super::super::query::{CONCURRENCY, QueryOptions, Question, Reply};
use super::super::requests::SendOptions;
use super::{Event, Node, Outgoing, Owner, Purpose};

/// Nodes that are asked whether they reach the server socket.
const PROBES: usize = 5;

/// So many of them must: fewer are a coincidence.
const PROBES_NEEDED: usize = 3;

/// Nodes asked at a time by queries that nobody waits for, while the node is busy otherwise.
const BACKGROUND: usize = 2;

/// Queries for the own id when a node begins: a second one, if the first changed the id.
const ROUNDS: u32 = 2;

pub(super) fn background_concurrency(is_quiet: bool) -> usize {
    if is_quiet { CONCURRENCY } else { BACKGROUND }
}

/// How far the beginning is.
#[derive(Debug, Default)]
pub(super) struct Bootstrapping {
    rounds: u32,
    asked_quickly: bool,
    /// One node reached the server socket, or could have: worth a thorough look.
    pub(super) reached: bool,
}

/// Some nodes were asked to send something to the server socket.
#[derive(Debug)]
pub(super) struct FirewallProbe {
    only_firewall: bool,
    is_beginning: bool,
    /// How the nodes saw us when it began.
    address: SocketAddrV4,
    sampler: NatSampler,
    asked: usize,
    missing: usize,
    hosts: HashSet<Ipv4Addr>,
    pongs: Vec<(Ipv4Addr, SocketAddrV4)>,
}

impl FirewallProbe {
    /// Something came to the server socket.
    pub(super) fn reached_from(&mut self, host: Ipv4Addr) {
        if self.hosts.len() < 64 {
            self.hosts.insert(host);
        }
    }
}

impl Node {
    /// Begins: looks for nodes. `server_port` is the port of the server socket.
    pub fn start(&mut self, server_port: u16, now: Instant) {
        self.server_port = server_port;
        self.bootstrap_round(now);
    }

    /// Nodes that are asked first, from now on.
    pub fn set_bootstrap(&mut self, nodes: Vec<SocketAddrV4>) {
        self.silent.retain(|node, _| nodes.contains(node));
        self.config.bootstrap = nodes;
    }

    fn bootstrap_round(&mut self, now: Instant) {
        self.bootstrapping.rounds += 1;
        let target = *self.table.id();
        self.background_query(target, Owner::Bootstrap, now);
    }

    /// Looks around: at random, or for the own neighbours.
    pub(super) fn refresh(&mut self, now: Instant) {
        let random = self.table.random(&mut self.random).map(|known| known.id);
        let target = random.unwrap_or(*self.table.id());
        self.background_query(target, Owner::Refresh, now);
    }

    fn background_query(&mut self, target: [u8; 32], owner: Owner, now: Instant) {
        self.upkeep.was_used();
        let question = Question {
            target,
            command: Command::FindNode,
            value: None,
        };
        let options = QueryOptions {
            concurrency: BACKGROUND,
            ..QueryOptions::default()
        };
        self.start_query(question, options, owner, now);
    }

    /// The first node that answers is asked whether it reaches the server socket. If it does, that is looked at
    /// thoroughly at once; else only when the node has been stable for long.
    pub(super) fn bootstrap_replied(&mut self, reply: &Reply, now: Instant) {
        let is_needed = self.firewalled && self.config.quick_firewall && self.config.ephemeral != Some(false);
        if is_needed && !std::mem::replace(&mut self.bootstrapping.asked_quickly, true) {
            self.ask_to_reach_us(reply.from, Purpose::QuickFirewall, now);
        }
    }

    fn ask_to_reach_us(&mut self, node: SocketAddrV4, purpose: Purpose, now: Instant) -> bool {
        let mut outgoing = Outgoing::new(node, Command::PingNat);
        outgoing.value = Some(self.server_port.to_le_bytes().to_vec());
        self.send(outgoing, purpose, &SendOptions::default(), now)
    }

    pub(super) fn bootstrap_queried(&mut self, now: Instant) {
        let wants_persistence = self.config.ephemeral == Some(false);
        if self.bootstrapped || (!self.bootstrapping.reached && !wants_persistence) {
            return self.finish_bootstrap();
        }
        self.update_network_state(!wants_persistence, true, now);
    }

    fn finish_bootstrap(&mut self) {
        if !std::mem::replace(&mut self.bootstrapped, true) {
            self.events.push_back(Event::Bootstrapped);
        }
    }

    /// Finds out whether others reach us; if they do, they may know us as a node (unless `only_firewall`).
    pub(super) fn update_network_state(&mut self, only_firewall: bool, is_beginning: bool, now: Instant) {
        let is_settled = !self.ephemeral || (only_firewall && !self.firewalled);
        if !only_firewall {
            self.upkeep.checked_network(self.nat.host());
        }
        let Some(address) = self.nat.address().filter(|_| !is_settled && self.probe.is_none()) else {
            return self.network_updated(false, is_beginning, now);
        };
        let mut nodes = Vec::new();
        if self.firewalled {
            nodes.extend(self.table.latest().take(PROBES).map(|known| known.address));
            if nodes.len() < PROBES {
                let bootstrap = self.config.bootstrap.iter().copied();
                nodes.extend(bootstrap.filter(|node| !self.is_silent(node)));
            }
        }
        self.probe = Some(FirewallProbe {
            only_firewall,
            is_beginning,
            address,
            sampler: NatSampler::default(),
            asked: nodes.len(),
            missing: nodes.len(),
            hosts: HashSet::new(),
            pongs: Vec::new(),
        });
        if nodes.is_empty() {
            return self.probed(now);
        }
        for node in nodes {
            if !self.ask_to_reach_us(node, Purpose::Firewall, now) {
                self.probe_answered(None, now);
            }
        }
    }

    pub(super) fn probe_answered(&mut self, reply: Option<&Reply>, now: Instant) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        let pong = reply.map(|reply| (*reply.from.ip(), reply.to));
        probe.pongs.extend(pong);
        probe.missing = probe.missing.saturating_sub(1);
        if probe.missing == 0 {
            self.probed(now);
        }
    }

    fn probed(&mut self, now: Instant) {
        let Some(mut probe) = self.probe.take() else {
            return;
        };
        let is_open = if self.firewalled {
            self.is_reached(&mut probe)
        } else {
            probe.sampler = self.nat.clone();
            true
        };
        let changed = is_open && self.opened(&probe);
        if changed {
            let id = node_id(probe.address);
            if *self.table.id() != id {
                self.table = self.table.moved_to(id);
                if self.bootstrapped {
                    self.refresh(now);
                }
            }
        }
        self.network_updated(changed, probe.is_beginning, now);
    }

    /// Whether enough nodes reached the server socket, and see it where it is bound.
    fn is_reached(&self, probe: &mut FirewallProbe) -> bool {
        // A node may send its answer to the client socket nevertheless: what counts is what came to the server socket.
        let came = |host: &Ipv4Addr| probe.hosts.contains(host);
        let reached: Vec<_> = probe.pongs.iter().filter(|(host, _)| came(host)).collect();
        for (_, to) in &reached {
            probe.sampler.add(*to);
        }
        let needed = if probe.asked >= PROBES { PROBES_NEEDED } else { 1 };
        let port = probe.sampler.port();
        reached.len() >= needed
            && probe.sampler.host().is_some()
            && probe.sampler.host() == self.nat.host()
            && port != 0
            && port == self.server_port
    }

    /// Strangers reach us. Says whether others see us consistently.
    fn opened(&mut self, probe: &FirewallProbe) -> bool {
        let was_firewalled = std::mem::replace(&mut self.firewalled, false);
        let is_same = self.ephemeral && self.nat.address() == Some(probe.address);
        let agrees = probe.sampler.host() == Some(*probe.address.ip()) && probe.sampler.port() != 0;
        if !is_same || !agrees {
            return false;
        }
        if was_firewalled {
            self.sampled_strangers.clear();
            self.nat = probe.sampler.clone();
        }
        if !probe.only_firewall {
            self.ephemeral = false;
        }
        true
    }

    fn network_updated(&mut self, changed: bool, is_beginning: bool, now: Instant) {
        if !is_beginning {
            return;
        }
        if changed && self.bootstrapping.rounds < ROUNDS {
            self.bootstrap_round(now);
        } else {
            self.finish_bootstrap();
        }
    }
}
