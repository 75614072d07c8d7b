//! Queries in the hands of a program: node after node is asked, and the closest may be asked to store something.

use std::net::SocketAddrV4;

use tokio::sync::{mpsc, oneshot};

use super::handle::Dht;
use super::rpc::address::Target;
use super::rpc::command::Command;
use super::rpc::node::{Outgoing, QueryId, RequestError};
use super::rpc::query::{QueryOptions, Question, Reply};

/// Why a query came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nobody is there to store with.
    #[error("no DHT node answered near {}", hex(.0))]
    NobodyAnswered(Target),
    /// None of the nodes stored it.
    #[error("none of the {nodes} DHT nodes near {} took the request", hex(.target))]
    NobodyStored {
        /// Near which key.
        target: Target,
        /// How many nodes were asked.
        nodes: usize,
        /// What the last one said.
        #[source]
        last: Option<NotStored>,
    },
}

/// Why a node did not store something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// There is no response.
    #[error(transparent)]
    Failed(#[from] RequestError),
    /// It said no.
    #[error("DHT node {node} refuses it with error {code}")]
    Refused {
        /// The node.
        node: SocketAddrV4,
        /// dht-rpc's or HyperDHT's number of the error.
        code: u64,
    },
}

/// A key as people see it.
fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Dht {
    /// Asks node after node for those that are closest to the target.
    pub fn find_node(&self, target: Target) -> QueryStream {
        self.query(target, Command::FindNode, None, QueryOptions::default())
    }

    /// Asks node after node, closer and closer to the target.
    pub fn query(
        &self,
        target: Target,
        command: Command,
        value: Option<Vec<u8>>,
        options: QueryOptions,
    ) -> QueryStream {
        let question = Question {
            target,
            command,
            value,
        };
        let (replies, receiver) = mpsc::unbounded_channel();
        let (finished, closest) = oneshot::channel();
        let id = self.shared.with(|state, now| {
            let id = state.node.query(question, options, now);
            state.await_query(id, replies, finished);
            id
        });
        QueryStream {
            dht: self.clone(),
            id,
            target,
            replies: receiver,
            closest,
        }
    }

    /// The second half of storing something: makes a request of each of the closest nodes of a query, all at once. It is well
    /// if one takes it.
    pub async fn commit(
        &self,
        target: Target,
        closest: &[Reply],
        request: impl Fn(&Reply) -> Option<Outgoing>,
    ) -> Result<Vec<Reply>, QueryError> {
        if closest.is_empty() {
            return Err(QueryError::NobodyAnswered(target));
        }
        let outgoing: Vec<_> = closest.iter().filter_map(request).collect();
        let nodes = outgoing.len();
        let mut tasks = tokio::task::JoinSet::new();
        for outgoing in outgoing {
            let dht = self.clone();
            tasks.spawn(async move { dht.request(outgoing).await });
        }
        let mut stored = Vec::new();
        let mut last = None;
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(Ok(reply)) if reply.error == 0 => stored.push(reply),
                Ok(Ok(reply)) => {
                    let (node, code) = (reply.from, reply.error);
                    last = Some(NotStored::Refused { node, code });
                }
                Ok(Err(error)) => last = Some(error.into()),
                Err(_) => {}
            }
        }
        if stored.is_empty() {
            return Err(QueryError::NobodyStored { target, nodes, last });
        }
        Ok(stored)
    }
}

/// The replies of a query as they come. Dropping it ends the query.
#[derive(Debug)]
pub struct QueryStream {
    dht: Dht,
    id: QueryId,
    target: Target,
    replies: mpsc::UnboundedReceiver<Reply>,
    closest: oneshot::Receiver<Vec<Reply>>,
}

impl QueryStream {
    /// What the query looks for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The next node's reply (none that says no); `None` when the query is over.
    pub async fn next(&mut self) -> Option<Reply> {
        self.replies.recv().await
    }

    /// Waits for the end: the closest nodes that answered, the closest first.
    pub async fn finish(mut self) -> Vec<Reply> {
        (&mut self.closest).await.unwrap_or_default()
    }
}

impl Drop for QueryStream {
    fn drop(&mut self) {
        self.dht.shared.lock().cancel_query(self.id);
    }
}
