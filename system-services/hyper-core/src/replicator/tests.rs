//! Several replicators in one process, whose messages come late, whose connections break, and whose cores change meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::node::Node;
use super::*;
use crate::core::CoreOptions;
use crate::crypto::KeyPair;
use crate::live::standing;
use crate::store::Store;

/// The first node writes.
const NODES: usize = 4;

struct Sim {
    nodes: Vec<Node>,
    /// The peer that `from` has of `to`.
    peers: BTreeMap<(usize, usize), PeerId>,
    wires: BTreeMap<(usize, usize), VecDeque<Message>>,
    now: Instant,
    appended: u64,
}

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Truncate(u8),
    Clear(u8, u8),
    Connect(usize, usize),
    Cut(usize, usize),
    /// Many small steps of the machinery, chosen by this number.
    Run(u64, u16),
    Wait(u8),
    Want(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    prop_oneof![
        2 => (1..20u8).prop_map(Step::Append),
        1 => (0..60u8).prop_map(Step::Truncate),
        1 => (1..NODES as u8, 0..60u8).prop_map(|(node, block)| Step::Clear(node, block)),
        4 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Connect(a, b)),
        2 => (node.clone(), node.clone()).prop_map(|(a, b)| Step::Cut(a, b)),
        6 => (any::<u64>(), 1..300u16).prop_map(|(seed, steps)| Step::Run(seed, steps)),
        1 => (1..90u8).prop_map(Step::Wait),
        2 => (1..NODES, 0..60u8).prop_map(|(node, block)| Step::Want(node, block)),
    ]
}

impl Sim {
    fn new(compat: bool) -> Self {
        let pair = KeyPair::from_seed(&[4; 32]);
        let writer = if compat {
            CoreOptions::compat(pair)
        } else {
            CoreOptions::from_key_pair(pair)
        };
        let core = Store::in_memory().unwrap().core(writer).unwrap();
        let reader = CoreOptions::from_key(*core.key());
        let mut cores = vec![core];
        for _ in 1..NODES {
            cores.push(Store::in_memory().unwrap().core(reader.clone()).unwrap());
        }
        let nodes = cores.into_iter().zip(1..);
        let mut sim = Self {
            nodes: nodes.map(|(core, seed)| Node::new(core, seed).unwrap()).collect(),
            peers: BTreeMap::new(),
            wires: BTreeMap::new(),
            now: Instant::now(),
            appended: 0,
        };
        for node in &mut sim.nodes {
            node.replicator.session_began();
            node.replicator.want_range(0, None, false, sim.now);
        }
        sim
    }

    fn connect(&mut self, a: usize, b: usize) {
        if a == b || self.peers.contains_key(&(a, b)) {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.nodes[from].replicator.add_peer([to as u8; 32], self.now);
            self.peers.insert((from, to), peer);
            self.wires.insert((from, to), VecDeque::new());
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if let Some(peer) = self.peers.remove(&(from, to)) {
                self.nodes[from].replicator.remove_peer(peer, self.now);
                self.wires.remove(&(from, to));
            }
        }
    }

    fn change(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Append(count) => {
                let numbers = self.appended..self.appended + u64::from(count);
                self.appended = numbers.end;
                let blocks: Vec<_> = numbers.map(|number| format!("block {number}")).collect();
                let writer = &mut self.nodes[0];
                let head = writer.core().append(&blocks).unwrap();
                let blocks = head.length - u64::from(count)..head.length;
                let standing = standing(writer.core()).unwrap();
                writer.replicator.appended(standing, blocks, now);
            }
            Step::Truncate(to) => {
                let writer = &mut self.nodes[0];
                let length = u64::from(to).min(writer.core().length().unwrap());
                writer.core().truncate(length, None).unwrap();
                let standing = standing(writer.core()).unwrap();
                writer.replicator.truncated(standing, length, now);
            }
            Step::Clear(node, block) => {
                let node = &mut self.nodes[usize::from(node)];
                let blocks = u64::from(block)..u64::from(block) + 9;
                node.core().clear(blocks.clone()).unwrap();
                let standing = standing(node.core()).unwrap();
                node.replicator.cleared(standing, blocks);
            }
            Step::Connect(a, b) => self.connect(a, b),
            Step::Cut(a, b) => self.cut(a, b),
            Step::Run(seed, steps) => drop(self.run(seed, steps.into())),
            Step::Wait(seconds) => self.wait(seconds),
            Step::Want(node, block) => {
                let waiter = self.nodes[node].replicator.want_block(block.into(), now);
                if block % 3 == 0 {
                    self.nodes[node].replicator.cancel(waiter, now);
                }
            }
        }
    }

    fn wait(&mut self, seconds: u8) {
        self.now += Duration::from_secs(seconds.into());
        for node in &mut self.nodes {
            node.replicator.tick(self.now);
        }
    }

    /// Takes so many small steps. Says whether any did something.
    fn run(&mut self, seed: u64, steps: usize) -> bool {
        let mut random = seed | 1;
        let mut any = false;
        for _ in 0..steps {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random.is_multiple_of(5) {
                let node = (random >> 8) as usize % NODES;
                any |= self.nodes[node]
                    .store(1 << (random >> 16 & 15), self.now)
                    .unwrap();
                continue;
            }
            let pairs: Vec<_> = self.peers.keys().copied().collect();
            if pairs.is_empty() {
                continue;
            }
            any |= self.step_of(pairs[(random >> 8) as usize % pairs.len()], random >> 32);
        }
        any
    }

    fn step_of(&mut self, (from, to): (usize, usize), choice: u64) -> bool {
        let peer = self.peers[&(from, to)];
        let node = &mut self.nodes[from];
        if choice.is_multiple_of(3) {
            let (messages, ends) = node.act(peer).unwrap();
            assert!(ends.is_empty(), "an honest peer is dropped or closed: {ends:?}");
            let any = !messages.is_empty();
            self.wires.get_mut(&(from, to)).unwrap().extend(messages);
            any
        } else if choice % 3 == 1 {
            let answer = node.answer(peer).unwrap();
            let any = answer.is_some();
            self.wires.get_mut(&(from, to)).unwrap().extend(answer);
            any
        } else {
            let Some(message) = self.wires.get_mut(&(to, from)).unwrap().pop_front() else {
                return false;
            };
            node.replicator.receive(peer, message, self.now).unwrap();
            true
        }
    }

    /// Connects all and lets them finish.
    fn settle(&mut self) {
        for other in 1..NODES {
            self.connect(0, other);
        }
        let now = self.now;
        for node in &mut self.nodes {
            node.replicator.want_range(0, None, true, now);
        }
        for round in 0..400u64 {
            while self.run(round.wrapping_mul(0x9e37_79b9_7f4a_7c15), 600) {}
            if self.is_done() {
                return;
            }
            self.wait(5);
        }
        let states: Vec<_> = self.nodes.iter().map(|node| node.replicator.state()).collect();
        panic!("the cores did not become equal: {states:?}");
    }

    fn is_done(&self) -> bool {
        let infos: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.core().info().unwrap())
            .collect();
        infos.iter().all(|info| {
            info.contiguous_length == info.length
                && (info.length, info.fork, info.tree_hash)
                    == (infos[0].length, infos[0].fork, infos[0].tree_hash)
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_comes_between_the_cores_end_equal(steps in prop::collection::vec(step(), 0..40), compat: bool) {
        let mut sim = Sim::new(compat);
        sim.change(&Step::Append(3));
        steps.iter().for_each(|step| sim.change(step));
        // An empty core of a newer fork is not followed, as by the peers: there is no signature to ask for.
        sim.change(&Step::Append(1));
        sim.settle();
        for node in &sim.nodes {
            for (block, first) in (0..sim.appended).map_while(|block| Some((block, sim.nodes[0].core().get(block).unwrap()?))) {
                prop_assert_eq!(node.core().get(block).unwrap(), Some(first));
            }
        }
    }

    #[test]
    fn any_bytes_of_a_peer_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        super::fuzz::fuzz_replicator(&bytes);
    }
}

fn pair() -> Sim {
    let mut sim = Sim::new(false);
    sim.change(&Step::Append(100));
    sim.connect(0, 1);
    sim
}

#[test]
fn a_peer_that_stalls_is_not_waited_for() {
    let mut sim = pair();
    sim.connect(0, 2);
    sim.run(1, 100);
    // The wire to the first reader's writer is dead; another peer has everything by then.
    sim.connect(1, 2);
    for round in 0..1000 {
        for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
            for choice in 0..3 {
                sim.step_of((from, to), choice);
            }
        }
        for node in &mut sim.nodes {
            node.store(1 << 20, sim.now).unwrap();
        }
        if round % 50 == 0 {
            sim.wait(3);
        }
    }
    assert_eq!(sim.nodes[1].core().info().unwrap().contiguous_length, 100);
}

#[test]
fn what_nobody_wants_any_more_is_taken_back() {
    let mut sim = pair();
    let now = sim.now;
    let core = Store::in_memory()
        .unwrap()
        .core(CoreOptions::from_key(*sim.nodes[0].core().key()));
    sim.nodes[3] = Node::new(core.unwrap(), 9).unwrap();
    sim.nodes[3].replicator.session_began();
    sim.connect(0, 3);
    while sim.run(5, 400) {}
    let waiter = sim.nodes[3].replicator.want_range(0, Some(50), false, now);
    let peer = sim.peers[&(3, 0)];
    let asked = sim.nodes[3].act(peer).unwrap().0.len();
    assert!(asked >= 16);
    sim.nodes[3].replicator.cancel(waiter, now);
    let messages = sim.nodes[3].act(peer).unwrap().0;
    let cancels = messages
        .iter()
        .filter(|message| matches!(message, Message::Cancel(_)));
    assert_eq!(cancels.count(), asked);
}

#[test]
fn a_peer_that_asks_too_much_is_dropped() {
    let mut sim = pair();
    let peer = sim.peers[&(0, 1)];
    let ask = |id| {
        Message::Request(Request {
            id,
            fork: 0,
            block: None,
            hash: None,
            seek: None,
            upgrade: None,
            manifest: true,
            priority: crate::messages::Priority::NORMAL,
        })
    };
    let now = sim.now;
    let replicator = &mut sim.nodes[0].replicator;
    let mut ids = 1..;
    let refused = ids.find_map(|id| {
        replicator
            .receive(peer, ask(id), now)
            .err()
            .map(|fault| (id, fault))
    });
    assert_eq!(
        refused,
        Some((
            MOST_ASKED as u64 + 1,
            Fault::TooManyRequests { limit: MOST_ASKED }
        ))
    );
}

#[test]
fn an_honest_peer_among_the_choices_of_the_fuzzer_gives_blocks() {
    let mut choices = vec![2, 5, 0, 8, 15, 2, 3, 1, 0, 40];
    choices.extend([5, 0].repeat(60));
    choices.extend([8, 15]);
    assert!(super::fuzz::fuzz_replicator(&choices));
}

#[test]
fn a_flood_of_syncs_is_not_piled_up() {
    let mut sim = pair();
    let peer = sim.peers[&(0, 1)];
    let now = sim.now;
    let replicator = &mut sim.nodes[0].replicator;
    for number in 0..10_000u64 {
        let sync = Message::Sync(crate::messages::Sync {
            fork: number % 3 * number,
            length: number % 90 + 1,
            remote_length: 0,
            can_upgrade: true,
            uploading: true,
            downloading: true,
            has_manifest: true,
            allow_push: false,
        });
        replicator.receive(peer, sync, now).unwrap();
    }
    assert!(replicator.requests.len() <= 2);
    assert!(replicator.take_actions(peer).len() < 100);
}

#[test]
fn readers_of_a_slow_writer_give_most_blocks_to_each_other() {
    const BLOCKS: u8 = 200;
    let mut sim = Sim::new(false);
    (0..4).for_each(|_| sim.change(&Step::Append(BLOCKS)));
    for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        sim.connect(a, b);
    }
    let pairs: Vec<_> = sim.peers.keys().copied().collect();
    let mut given = 0;
    for round in 0..1000 {
        for pair in &pairs {
            sim.step_of(*pair, 0);
            while sim.step_of(*pair, 2) {}
        }
        for (from, to) in &pairs {
            // The writer gives two blocks to each, readers as many as they are asked for.
            let most = if *from == 0 { 2 } else { usize::MAX };
            given += (0..most).take_while(|_| sim.step_of((*from, *to), 1)).count() * usize::from(*from == 0);
        }
        for node in &mut sim.nodes {
            node.store(1 << 20, sim.now).unwrap();
        }
        sim.now += Duration::from_millis(20);
        if round % 50 == 0 {
            sim.wait(0);
        }
        if sim.is_done() {
            break;
        }
    }
    assert!(sim.is_done());
    // Each block once, and what several had asked for when the first of them got it.
    assert!(given < 6 * usize::from(BLOCKS), "the writer gave {given} blocks");
}

#[test]
fn a_core_is_calm_when_everything_is_there_and_nobody_is_waited_for() {
    let mut sim = pair();
    let calm = |sim: &Sim| [0, 1].map(|node| sim.nodes[node].replicator.is_calm());
    while sim.run(5, 400) {}
    assert_eq!(calm(&sim), [true; 2]);
    // Blocks that are missing.
    sim.change(&Step::Append(9));
    for _ in 0..9 {
        for (pair, choice) in [((0, 1), 0), ((1, 0), 2), ((1, 0), 0), ((0, 1), 2)] {
            sim.step_of(pair, choice);
        }
    }
    assert!(!calm(&sim)[1]);
    while sim.run(5, 400) {}
    assert_eq!(calm(&sim), [true; 2]);
    // A block that is not there yet.
    let now = sim.now;
    let replicator = &mut sim.nodes[1].replicator;
    let waiter = replicator.want_block(1000, now);
    assert!(!replicator.is_calm());
    replicator.cancel(waiter, now);
    assert!(replicator.is_calm());
    // A session that has gone.
    replicator.session_ended(now);
    assert!(!replicator.is_calm());
    sim.wait(31);
    assert!(sim.nodes[1].replicator.is_calm() && !sim.nodes[1].replicator.wants_peers());
    // A store that failed.
    sim.nodes[0].replicator.suspend(sim.now);
    assert!(!calm(&sim)[0]);
    sim.wait(11);
    assert!(calm(&sim)[0]);
    // A newer fork, which is asked for again and again.
    let (peer, now) = (sim.peers[&(0, 1)], sim.now);
    let sync = crate::messages::Sync {
        fork: 1,
        length: 5,
        remote_length: 0,
        can_upgrade: false,
        uploading: false,
        downloading: true,
        has_manifest: true,
        allow_push: false,
    };
    sim.nodes[0]
        .replicator
        .receive(peer, Message::Sync(sync), now)
        .unwrap();
    assert!(!calm(&sim)[0]);
}
