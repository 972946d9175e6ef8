//! A log server (HTTPS) that takes uploads as the log service is thought to, honestly or not.
//!
//! ```no_run
//! use tests::log_server::{LogServer, Reply};
//!
//! let server = LogServer::start("/tmp/example".as_ref()).unwrap();
//! server.set_behaviour(|request| if request.number == 0 { Reply::Status(503) } else { Reply::Accept });
//! // A client posts to server.url("/upload") and trusts the certificate in server.ca_file().
//! for upload in server.accepted() {
//!     println!("{}: {} octets", upload.device_id, upload.content.len());
//! }
//! ```
#![forbid(unsafe_code)]

pub(crate) mod certificates;
mod http;
mod multipart;
mod proxy;
mod session;

#[cfg(test)]
mod tests;

pub use certificates::Certificate;
pub use http::Request;
pub use proxy::{Gate, Proxy};
pub use session::{Reply, Upload};

use crate::policy_server::listener::{Listener, lock};
use rustls::ServerConfig;
use rustls::crypto::ring;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

type Behaviour = dyn Fn(&Request) -> Reply + Send + Sync;

/// A log server on an ephemeral port of 127.0.0.1, with an authority of its own. Dropping it ends it at once, with all
/// its connections.
pub struct LogServer {
    listener: Listener,
    ca_file: PathBuf,
    shared: Arc<Shared>,
}

/// What the connections share.
struct Shared {
    tls: Arc<ServerConfig>,
    behaviour: Mutex<Arc<Behaviour>>,
    log: Mutex<Log>,
}

/// What was seen.
#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    uploads: Vec<Upload>,
    faults: Vec<String>,
}

impl LogServer {
    /// Starts a server that accepts every upload, and writes its authority's certificate to `ca.pem` in a directory.
    ///
    /// # Errors
    /// What the system says to the file, the socket or the thread, or rcgen to a certificate.
    pub fn start(directory: &Path) -> io::Result<Self> {
        Self::start_with(directory, Certificate::Good)
    }

    /// The same with something wrong with the certificate.
    ///
    /// # Errors
    /// As for `start`.
    pub fn start_with(directory: &Path, certificate: Certificate) -> io::Result<Self> {
        let chain = certificates::make(certificate).map_err(io::Error::other)?;
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, chain.ca_pem)?;
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|tls| tls.with_no_client_auth().with_single_cert(vec![chain.certificate], chain.key))
            .map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            tls: Arc::new(tls),
            behaviour: Mutex::new(Arc::new(|_: &Request| Reply::Accept)),
            log: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let listener = Listener::ipv4(move |client| session::serve(&client, &serving))?;
        Ok(LogServer { listener, ca_file, shared })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// `https://localhost:PORT` and a path, which has to start with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port())
    }

    /// The file with the authority's certificate.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Decides about each request from the next one on, when its headers are read. Connections ask it at the same time.
    pub fn set_behaviour<F>(&self, behaviour: F)
    where
        F: Fn(&Request) -> Reply + Send + Sync + 'static,
    {
        *lock(&self.shared.behaviour) = Arc::new(behaviour);
    }

    /// The requests whose headers were read so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.log).requests.clone()
    }

    /// The uploads that came whole, in the order in which they ended, whatever the client was told then.
    pub fn uploads(&self) -> Vec<Upload> {
        lock(&self.shared.log).uploads.clone()
    }

    /// The uploads that the service keeps: those answered with 2xx, and those whose answer was lost.
    pub fn accepted(&self) -> Vec<Upload> {
        let kept = |upload: &Upload| upload.status.is_none_or(|status| (200..300).contains(&status));
        self.uploads().into_iter().filter(kept).collect()
    }

    /// What clients did wrong: failed handshakes, bent requests, bodies that ended early.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.shared.log).faults.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }
}
