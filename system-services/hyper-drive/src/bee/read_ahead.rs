//! Fetching what a scan will ask for next, while it waits for peers.
//!
//! A tree cannot be read in one request: which blocks come next is in blocks that are still to come. So those of all children at
//! hand are asked for at once, and theirs as soon as they are there, in about the order of the scan and not far ahead of it.

use std::collections::VecDeque;

use tokio::task::JoinSet;

use super::block::Pointer;
use super::view::{Node, View};

/// Blocks that are asked for at the same time.
const AT_ONCE: usize = 64;
/// Blocks that may be ahead of the reader.
const AHEAD: usize = 256;
/// Blocks that may be asked for with each entry that the reader took: more than an entry takes, so that the lead is regained.
const PER_ENTRY: usize = 2;

/// What comes next in a scan.
#[derive(Clone, Copy)]
enum Wanted {
    Key(u64),
    Node(Pointer, usize),
}

/// Blocks that are being fetched for a scan; dropped with it, they no longer are.
pub(super) struct ReadAhead {
    view: View,
    reverse: bool,
    queue: VecDeque<Wanted>,
    tasks: JoinSet<Option<Node>>,
    /// Blocks that may still be asked for.
    left: usize,
}

impl ReadAhead {
    pub(super) fn new(view: View, reverse: bool) -> Self {
        Self {
            view,
            reverse,
            queue: VecDeque::new(),
            tasks: JoinSet::new(),
            left: AHEAD,
        }
    }

    /// What a node has from a step of the scan on comes before all that is wanted so far.
    pub(super) fn want(&mut self, node: &Node, step: usize) {
        let last = 2 * node.content.keys.len();
        let wanted = |step: usize| match step % 2 {
            1 => node.content.keys.get(step / 2).map(|seq| Wanted::Key(*seq)),
            _ => {
                let child = node.content.children.get(step / 2);
                child.map(|child| Wanted::Node(*child, node.depth + 1))
            }
        };
        if self.reverse {
            (0..=step)
                .filter_map(wanted)
                .for_each(|wanted| self.queue.push_front(wanted));
        } else {
            (step..=last)
                .rev()
                .filter_map(wanted)
                .for_each(|wanted| self.queue.push_front(wanted));
        }
    }

    /// The reader took an entry.
    pub(super) fn entry_taken(&mut self) {
        self.left = (self.left + PER_ENTRY).min(AHEAD);
        while let Some(done) = self.tasks.try_join_next() {
            self.arrived(done.ok().flatten());
        }
        self.ask();
    }

    /// Waits until a block came, and asks for what it names.
    pub(super) async fn step(&mut self) {
        self.ask();
        match self.tasks.join_next().await {
            Some(done) => self.arrived(done.ok().flatten()),
            None => std::future::pending().await,
        }
        self.ask();
    }

    fn arrived(&mut self, node: Option<Node>) {
        if let Some(node) = node {
            let first = if self.reverse {
                2 * node.content.keys.len()
            } else {
                0
            };
            self.want(&node, first);
        }
    }

    fn ask(&mut self) {
        while self.left > 0 && self.tasks.len() < AT_ONCE {
            let Some(wanted) = self.queue.pop_front() else {
                return;
            };
            self.left -= 1;
            let view = self.view.clone();
            // An error is for the reader, who will meet it.
            self.tasks.spawn(async move {
                match wanted {
                    Wanted::Key(seq) => view.block(seq).await.ok().and(None),
                    Wanted::Node(pointer, depth) => view.node(pointer, depth).await.ok(),
                }
            });
        }
    }
}
