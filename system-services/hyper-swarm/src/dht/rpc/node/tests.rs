//! Networks of nodes in simulated time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::address::{compare, node_id};
use super::super::command::Command;
use super::super::message::Message;
use super::super::query::{MAX_VISITS, QueryOptions, Question};
use super::super::requests::SendOptions;
use super::fuzz::fuzz_node;
use super::*;

const LATENCY: Duration = Duration::from_millis(10);

/// A machine with one node: sockets at two ports of its host.
struct Machine {
    node: Node,
    host: Ipv4Addr,
    is_alive: bool,
    /// Strangers do not reach the server socket.
    is_firewalled: bool,
    /// Its NAT shows each host another port.
    is_randomized: bool,
    events: Vec<Event>,
}

const SERVER_PORT: u16 = 4000;
const CLIENT_PORT: u16 = 5000;

struct Flight {
    from: SocketAddrV4,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

struct World {
    now: Instant,
    machines: Vec<Machine>,
    flights: BTreeMap<(Instant, u64), Flight>,
    count: u64,
    random: Random,
    loss_percent: usize,
}

fn host(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0b00_0000 + number as u32)
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            machines: Vec::new(),
            flights: BTreeMap::new(),
            count: 0,
            random: Random::new(seed),
            loss_percent: 0,
        }
    }

    /// A network of persistent nodes.
    fn of(size: usize, seed: u64) -> Self {
        let mut world = Self::new(seed);
        for number in 0..size {
            let config = NodeConfig {
                bootstrap: (number > 0).then(|| world.address(0)).into_iter().collect(),
                ephemeral: Some(false),
                firewalled: false,
                address: (number == 0).then_some(SocketAddrV4::new(host(0), SERVER_PORT)),
                ..NodeConfig::default()
            };
            world.add(config);
            world.run(Duration::from_secs(2));
        }
        world
    }

    fn add(&mut self, config: NodeConfig) -> usize {
        let number = self.machines.len();
        let mut node = Node::new(config, &[number as u8; 128], self.random.number(), self.now);
        node.start(SERVER_PORT, self.now);
        self.machines.push(Machine {
            node,
            host: host(number),
            is_alive: true,
            is_firewalled: false,
            is_randomized: false,
            events: Vec::new(),
        });
        number
    }

    /// A node as it is at somebody's home.
    fn guest(&mut self) -> usize {
        let bootstrap = vec![self.address(0)];
        self.add(NodeConfig {
            bootstrap,
            ..NodeConfig::default()
        })
    }

    fn address(&self, number: usize) -> SocketAddrV4 {
        SocketAddrV4::new(host(number), SERVER_PORT)
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.collect();
            let timeouts = self.machines.iter().filter(|machine| machine.is_alive);
            let timeout = timeouts.map(|machine| machine.node.poll_timeout()).min();
            let arrival = self.flights.keys().next().map(|(time, _)| *time);
            let next = timeout.into_iter().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = next.max(self.now);
            while let Some(entry) = self.flights.first_entry()
                && entry.key().0 <= self.now
            {
                let flight = entry.remove();
                self.deliver(flight);
            }
            for machine in self.machines.iter_mut().filter(|machine| machine.is_alive) {
                if machine.node.poll_timeout() <= self.now {
                    machine.node.handle_timeout(self.now);
                }
            }
        }
    }

    fn collect(&mut self) {
        for machine in &mut self.machines {
            while let Some(event) = machine.node.poll_event() {
                machine.events.push(event);
            }
            while let Some(transmit) = machine.node.poll_transmit() {
                let port = match transmit.socket {
                    SocketId::SERVER => SERVER_PORT,
                    _ if machine.is_randomized => {
                        CLIENT_PORT + 1 + (u32::from(*transmit.to.ip()) % 50_000) as u16
                    }
                    _ => CLIENT_PORT,
                };
                if !machine.is_alive || self.random.below(100) < self.loss_percent {
                    continue;
                }
                self.count += 1;
                let flight = Flight {
                    from: SocketAddrV4::new(machine.host, port),
                    to: transmit.to,
                    bytes: transmit.bytes,
                };
                self.flights.insert((self.now + LATENCY, self.count), flight);
            }
        }
    }

    fn deliver(&mut self, flight: Flight) {
        let to = self
            .machines
            .iter_mut()
            .find(|machine| machine.host == *flight.to.ip());
        let Some(machine) = to.filter(|machine| machine.is_alive) else {
            return;
        };
        let socket = match flight.to.port() {
            SERVER_PORT if machine.is_firewalled => return,
            SERVER_PORT => SocketId::SERVER,
            _ => SocketId::CLIENT,
        };
        machine.node.receive(socket, flight.from, &flight.bytes, self.now);
    }

    fn find_node(&mut self, number: usize, target: [u8; 32]) -> Vec<Reply> {
        let question = Question {
            target,
            command: Command::FindNode,
            value: None,
        };
        let now = self.now;
        let id = self.machines[number]
            .node
            .query(question, QueryOptions::default(), now);
        for _ in 0..60 {
            self.run(Duration::from_millis(500));
            let events = &mut self.machines[number].events;
            let is_ours = |event: &Event| matches!(event, Event::QueryFinished(other, _) if *other == id);
            if let Some(at) = events.iter().position(is_ours)
                && let Event::QueryFinished(_, closest) = events.swap_remove(at)
            {
                return closest;
            }
        }
        panic!("the query does not end");
    }

    /// The ids of the living persistent nodes, the closest to the target first.
    fn ids(&self, target: [u8; 32]) -> Vec<NodeId> {
        let machines = self.machines.iter().filter(|machine| machine.is_alive);
        let mut ids: Vec<_> = machines.filter_map(|machine| machine.node.state().id).collect();
        ids.sort_by(|a, b| compare(&target, a, b));
        ids
    }
}

#[test]
fn sixty_nodes_find_the_closest_ones() {
    let mut world = World::of(60, 1);
    let guest = world.guest();
    world.run(Duration::from_secs(5));
    for target in [[0; 32], [0x5a; 32], [0xff; 32]] {
        let found: Vec<_> = world
            .find_node(guest, target)
            .iter()
            .filter_map(|reply| reply.from_id)
            .collect();
        let closest = world.ids(target);
        let right = found.iter().filter(|id| closest[..20].contains(id)).count();
        assert_eq!(found.len(), 20);
        assert!(right >= 19, "{right} of the 20 closest");
        assert_eq!(found[0], closest[0]);
    }
}

#[test]
fn losses_and_dead_nodes_are_got_over() {
    let mut world = World::of(34, 2);
    let guest = world.guest();
    world.run(Duration::from_secs(5));
    for number in (5..34).step_by(3) {
        world.machines[number].is_alive = false;
    }
    world.loss_percent = 15;
    let target = [0x33; 32];
    let found = world.find_node(guest, target);
    let living = world.ids(target);
    let dead = found
        .iter()
        .filter(|reply| !living.contains(&reply.from_id.unwrap()));
    assert_eq!(dead.count(), 0);
    assert!(
        found.len() >= 10,
        "of the 20 that everybody names, a third is dead"
    );
    world.loss_percent = 0;
    // Everybody finds out in time.
    world.run(Duration::from_secs(10 * 60));
    assert_eq!(world.find_node(guest, target).len(), 20);
    let living = world.ids([0; 32]);
    for machine in world.machines.iter().filter(|machine| machine.is_alive) {
        let dead = machine
            .node
            .table()
            .oldest()
            .filter(|known| !living.contains(&known.id))
            .count();
        assert_eq!(dead, 0, "dead nodes in the table of {}", machine.host);
    }
}

#[test]
fn a_dead_bootstrap_node_holds_up_one_query_for_a_while_and_the_next_ones_not() {
    let mut world = World::of(4, 9);
    let dead = SocketAddrV4::new(Ipv4Addr::new(11, 9, 9, 9), SERVER_PORT);
    let guest = world.add(NodeConfig {
        bootstrap: vec![dead, world.address(0)],
        ..NodeConfig::default()
    });
    world.run(Duration::from_secs(4));
    assert!(world.machines[guest].node.state().bootstrapped);
    let begun = world.now;
    assert_eq!(world.find_node(guest, [1; 32]).len(), 4);
    assert!(world.now - begun <= Duration::from_millis(500));
}

#[test]
fn a_node_that_strangers_reach_becomes_persistent_when_it_was_stable() {
    let mut world = World::of(10, 3);
    let guest = world.guest();
    world.run(Duration::from_secs(60));
    let state = world.machines[guest].node.state();
    assert!(state.bootstrapped && !state.firewalled && state.is_ephemeral());
    assert_eq!((state.host, state.port), (Some(host(guest)), SERVER_PORT));
    world.run(Duration::from_secs(18 * 60));
    assert!(world.machines[guest].node.state().is_ephemeral());
    world.run(Duration::from_secs(3 * 60));
    let id = node_id(world.address(guest));
    assert_eq!(world.machines[guest].node.state().id, Some(id));
    world.run(Duration::from_secs(10));
    assert!(
        world.machines[3].node.table().get(&id).is_some(),
        "others know it"
    );
}

#[test]
fn a_node_behind_a_firewall_never_becomes_persistent() {
    let mut world = World::of(7, 4);
    let (closed, random) = (world.guest(), world.guest());
    world.machines[closed].is_firewalled = true;
    world.machines[random].is_firewalled = true;
    world.machines[random].is_randomized = true;
    world.run(Duration::from_secs(60));
    let state = world.machines[random].node.state();
    assert!(state.is_randomized() && state.firewalled);
    world.run(Duration::from_secs(80 * 60));
    for number in [closed, random] {
        let state = world.machines[number].node.state();
        assert!(state.bootstrapped && state.firewalled && state.is_ephemeral());
    }
    assert_eq!(world.machines[closed].node.state().port, CLIENT_PORT);
}

#[test]
fn who_claims_another_id_is_not_known_by_it() {
    let mut world = World::of(3, 5);
    let liar = SocketAddrV4::new(Ipv4Addr::new(11, 1, 1, 1), 77);
    let now = world.now;
    let ping = |id| {
        let request = super::super::message::Request {
            tid: 1,
            to: SocketAddrV4::new(host(1), SERVER_PORT),
            id: Some(id),
            token: None,
            command: Command::Ping,
            target: None,
            value: None,
        };
        request.encode()
    };
    let node = &mut world.machines[1].node;
    let before = node.table().len();
    node.receive(SocketId::SERVER, liar, &ping([9; 32]), now);
    assert_eq!(node.table().len(), before);
    node.receive(SocketId::SERVER, liar, &ping(node_id(liar)), now);
    assert_eq!(node.table().len(), before + 1);
}

/// Answers each request with nodes that nobody has heard of, ever closer to the target.
#[test]
fn a_liar_cannot_keep_a_query_going_for_ever() {
    let now = Instant::now();
    let bootstrap = SocketAddrV4::new(Ipv4Addr::new(12, 0, 0, 1), 1);
    let config = NodeConfig {
        bootstrap: vec![bootstrap],
        ..NodeConfig::default()
    };
    let mut node = Node::new(config, &[1; 128], 1, now);
    let question = Question {
        target: [0; 32],
        command: Command::FindNode,
        value: None,
    };
    node.query(question, QueryOptions::default(), now);
    let mut made_up = Random::new(9);
    let mut answered = 0;
    while let Some(transmit) = node.poll_transmit() {
        let Some(Ok(Message::Request(request))) = Message::decode(&transmit.bytes) else {
            panic!("no request");
        };
        let closer = (0..20).map(|_| {
            let number = made_up.number();
            SocketAddrV4::new(Ipv4Addr::from(number as u32 | 1 << 29), (number >> 40) as u16 | 1)
        });
        let response = super::super::message::Response {
            tid: request.tid,
            to: transmit.to,
            id: None,
            token: None,
            closer_nodes: closer.collect(),
            error: 0,
            value: None,
        };
        answered += 1;
        node.receive(SocketId::CLIENT, transmit.to, &response.encode(), now);
    }
    assert!(answered <= MAX_VISITS, "{answered}");
    while let Some(event) = node.poll_event() {
        if matches!(event, Event::QueryFinished(..)) {
            return;
        }
    }
    panic!("the query goes on");
}

#[test]
fn a_token_is_good_for_its_host_and_for_a_while() {
    let mut world = World::of(2, 6);
    let token = world.machines[1].node.token(host(0));
    let store = |world: &mut World, from: usize| {
        let outgoing = Outgoing {
            token: Some(token),
            target: Some([1; 32]),
            ..Outgoing::new(SocketAddrV4::new(host(1), SERVER_PORT), Command::Unknown(5))
        };
        let now = world.now;
        world.machines[1].events.clear();
        world.machines[from]
            .node
            .request(outgoing, &SendOptions::default(), now);
        world.run(Duration::from_millis(100));
        let events = &world.machines[1].events;
        events
            .iter()
            .any(|event| matches!(event, Event::Request(request) if request.token == Some(token)))
    };
    let guest = world.guest();
    assert!(store(&mut world, 0));
    assert!(!store(&mut world, guest), "another host");
    world.run(Duration::from_secs(7));
    assert!(store(&mut world, 0), "from the secret before");
    world.run(Duration::from_secs(9));
    assert!(!store(&mut world, 0), "too old");
}

#[test]
fn a_response_from_elsewhere_is_none() {
    let now = Instant::now();
    let mut node = Node::new(NodeConfig::default(), &[1; 128], 1, now);
    let to = SocketAddrV4::new(host(1), 1);
    node.request(Outgoing::new(to, Command::Ping), &SendOptions::default(), now);
    let request = node.poll_transmit().unwrap();
    let Some(Ok(Message::Request(request))) = Message::decode(&request.bytes) else {
        panic!("no request");
    };
    let response = super::super::message::Response {
        tid: request.tid,
        to,
        id: None,
        token: None,
        closer_nodes: Vec::new(),
        error: 0,
        value: None,
    };
    node.receive(
        SocketId::CLIENT,
        SocketAddrV4::new(host(2), 1),
        &response.encode(),
        now,
    );
    assert!(node.poll_event().is_none());
    node.receive(SocketId::CLIENT, to, &response.encode(), now);
    assert!(matches!(node.poll_event(), Some(Event::Response(_, Ok(_)))));
}

#[test]
fn a_delayed_ping_is_answered_later_and_not_too_late() {
    let mut world = World::of(2, 7);
    for (delay, answered_after) in [(300_u32, Some(300)), (10_001, None)] {
        let outgoing = Outgoing {
            value: Some(delay.to_le_bytes().to_vec()),
            ..Outgoing::new(world.address(1), Command::DelayedPing)
        };
        let options = SendOptions {
            timeout: Duration::from_secs(12),
            retries: 0,
            ..SendOptions::default()
        };
        let now = world.now;
        world.machines[0].events.clear();
        world.machines[0].node.request(outgoing, &options, now);
        world.run(Duration::from_secs(13));
        let rtt = world.machines[0].events.iter().find_map(|event| match event {
            Event::Response(_, Ok(reply)) => Some(reply.rtt.as_millis()),
            _ => None,
        });
        assert_eq!(rtt, answered_after.map(|delay| delay + 2 * LATENCY.as_millis()));
    }
}

#[test]
fn what_sleeps_does_not_answer_and_wakes_up() {
    let mut world = World::of(6, 8);
    let (now, other) = (world.now, world.address(1));
    world.machines[2].node.suspend();
    world.machines[2]
        .node
        .request(Outgoing::new(other, Command::Ping), &SendOptions::default(), now);
    world.run(Duration::from_secs(60));
    let failed = |event: &Event| matches!(event, Event::Response(_, Err(RequestError::Closed(_))));
    assert!(world.machines[2].events.iter().any(failed));
    let now = world.now;
    world.machines[2].node.resume(now);
    world.run(Duration::from_secs(60));
    assert_eq!(world.find_node(2, [1; 32]).len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn hostile_datagrams_do_no_harm(
        steps in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..120), any::<bool>()), 0..60),
    ) {
        let mut script = Vec::new();
        for (step, mut datagram, is_response) in steps {
            if let Some(first) = datagram.first_mut() {
                *first = if is_response { 0x13 } else { 0x03 };
            }
            script.extend([step, datagram.len() as u8]);
            script.extend(datagram);
        }
        fuzz_node(&script);
    }
}

#[test]
fn a_node_wakes_up_at_any_tick() {
    for seed in 0..64 {
        let now = Instant::now();
        let mut node = Node::new(NodeConfig::default(), &[7; 128], seed, now);
        node.start(SERVER_PORT, now);
        node.suspend();
        node.resume(now + Duration::from_secs(1));
        // Its first pings are due in two ticks (of eight).
        assert_eq!(node.upkeep.tick() % 8, 6);
    }
}
