//! A policy name server (DNS over TCP) that serves what a test gives it, honestly or not.
//!
//! ```no_run
//! use tests::policy_server::{Policy, PolicyServer, Reply, generate, hostile};
//!
//! let block = generate::block(1, 26_424);
//! let mut policy = Policy::new();
//! policy.put_zone("org.threatstop.local", 2_026_112_101);
//! policy.put_parts("block.org.threatstop.local", &generate::listed(&block), usize::MAX);
//! let server = PolicyServer::start(policy).unwrap();
//! server.set_behaviour(|query| match query.number {
//!     0 => Reply::Message(hostile::wrong_id(query.answer())),
//!     _ => Reply::Answer,
//! });
//! ```
#![forbid(unsafe_code)]

pub mod apl;
pub mod generate;
pub mod hostile;
pub(crate) mod listener;
pub mod policy;
mod session;
pub mod tsig;
pub mod wire;

#[cfg(test)]
mod tests;

pub use apl::AplItem;
pub use policy::Policy;
pub use session::{Query, Reply};
pub use wire::{Data, Style};

use listener::{Listener, lock};
use std::io;
use std::sync::{Arc, Mutex};

type Behaviour = dyn Fn(&Query) -> Reply + Send + Sync;

/// A policy name server on an ephemeral port of 127.0.0.1. Dropping it ends it at once, with all its connections.
pub struct PolicyServer {
    listener: Listener,
    shared: Arc<Shared>,
}

/// What the connections share.
struct Shared {
    policy: Mutex<Arc<Policy>>,
    behaviour: Mutex<Arc<Behaviour>>,
    batch: Mutex<usize>,
    log: Mutex<Log>,
}

/// What was seen.
#[derive(Default)]
struct Log {
    queries: Vec<(String, u16)>,
    malformed: usize,
}

impl PolicyServer {
    /// Starts a server on 127.0.0.1 that answers every query as the policy has it.
    ///
    /// # Errors
    /// What the system says to the socket or the thread.
    pub fn start(policy: Policy) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(policy));
        let serving = Arc::clone(&shared);
        Ok(PolicyServer { listener: Listener::ipv4(move |client| session::serve(client, &serving))?, shared })
    }

    /// Starts a server on one port of both 127.0.0.1 and ::1.
    ///
    /// # Errors
    /// As for `start`; also where the machine has no IPv6.
    pub fn start_dual(policy: Policy) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(policy));
        let serving = Arc::clone(&shared);
        Ok(PolicyServer { listener: Listener::dual(move |client| session::serve(client, &serving))?, shared })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Serves another policy from the next query on.
    pub fn set_policy(&self, policy: Policy) {
        *lock(&self.shared.policy) = Arc::new(policy);
    }

    /// Decides about each query from the next one on. Connections ask it at the same time.
    pub fn set_behaviour<F>(&self, behaviour: F)
    where
        F: Fn(&Query) -> Reply + Send + Sync + 'static,
    {
        *lock(&self.shared.behaviour) = Arc::new(behaviour);
    }

    /// Holds replies back until there are so many, or no query has come for 100 ms, and sends them last first.
    /// With 1, as at the start, each reply is sent before the next query is read.
    pub fn set_batch(&self, replies: usize) {
        *lock(&self.shared.batch) = replies;
    }

    /// The names (lower case, without final dot) and types asked for so far, in the order in which they came.
    pub fn queries(&self) -> Vec<(String, u16)> {
        lock(&self.shared.log).queries.clone()
    }

    /// How many messages came that were no query that a policy client sends; they were answered with FORMERR.
    pub fn malformed(&self) -> usize {
        lock(&self.shared.log).malformed
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }
}

impl Shared {
    fn new(policy: Policy) -> Self {
        Shared {
            policy: Mutex::new(Arc::new(policy)),
            behaviour: Mutex::new(Arc::new(|_: &Query| Reply::Answer)),
            batch: Mutex::new(1),
            log: Mutex::default(),
        }
    }
}
