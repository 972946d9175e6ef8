//! A server of TLS in front of another that speaks plain TCP, honest or not: what a client says over TLS goes on to the
//! other as it is, and back.
//!
//! ```no_run
//! use tests::log_server::Certificate;
//! use tests::policy_server::{Policy, PolicyServer};
//! use tests::tls_front::{Manner, TlsFront};
//!
//! let server = PolicyServer::start(Policy::new()).unwrap();
//! let front = TlsFront::start(server.port(), Certificate::Expired, Manner::Honest);
//! // A client connects to 127.0.0.1, front.port(), and trusts the authority in front.ca_pem().
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::crypto::ring;
use rustls::server::Acceptor;
use rustls::{ServerConfig, ServerConnection, Stream, version};

use crate::log_server::{Certificate, certificates};
use crate::policy_server::listener::{Client, Listener, lock};

/// Octets moved at a time.
const PIECE: usize = 64 * 1024;

/// How it speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should, with the newest version.
    Honest,
    /// As it should, with TLS 1.2.
    Older,
    /// It never says farewell (close_notify) when the other server closes the connection.
    NoFarewell,
    /// It reads the client's first message and is silent then.
    Stall,
    /// It sends its part of the handshake one octet at a time, with this time before each.
    Slow(Duration),
    /// It reads the client's first message and closes the connection.
    CloseInHandshake,
    /// It sends octets that are no TLS once the handshake is done.
    Garbage,
    /// It speaks this application protocol only (ALPN).
    Speaks(&'static str),
    /// It wants a certificate of its clients.
    WantsCertificate,
}

/// A running front on an ephemeral port of 127.0.0.1. Dropping it ends it at once, with all its connections.
pub struct TlsFront {
    listener: Listener,
    ca_pem: String,
    negotiated: Arc<Mutex<Vec<String>>>,
}

impl TlsFront {
    /// Starts a front of the server on this port of 127.0.0.1.
    ///
    /// # Panics
    /// There is no socket, thread or certificate to be had.
    #[must_use]
    pub fn start(port: u16, certificate: Certificate, manner: Manner) -> TlsFront {
        let chain = certificates::make(certificate).expect("certificate");
        let versions = match manner {
            Manner::Older => vec![&version::TLS12],
            _ => vec![&version::TLS13, &version::TLS12],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&versions)
            .expect("versions");
        let builder = if manner == Manner::WantsCertificate {
            let mut roots = rustls::RootCertStore::empty();
            let authority = certificates::make(Certificate::Authority).expect("certificate");
            roots.add(authority.certificate).expect("root");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::new(ring::default_provider()),
            );
            builder.with_client_cert_verifier(verifier.build().expect("verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![chain.certificate], chain.key).expect("key");
        config.alpn_protocols = match manner {
            Manner::Speaks(protocol) => vec![protocol.as_bytes().to_vec()],
            _ => vec![b"dot".to_vec()],
        };
        let config = Arc::new(config);
        let negotiated = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&negotiated);
        let serve = move |client: Client| {
            // What a client that goes, or a server that is gone, makes of it is the tests' matter.
            let _ = serve(&client, port, &config, manner, &seen);
        };
        TlsFront { listener: Listener::ipv4(serve).expect("listener"), ca_pem: chain.ca_pem, negotiated }
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// The authority's certificate, for the client's CA file.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }

    /// For each handshake that was done: the version, the application protocol (ALPN) and the name that the client asked
    /// for (SNI), or `-`.
    #[must_use]
    pub fn negotiated(&self) -> Vec<String> {
        lock(&self.negotiated).clone()
    }
}

fn serve(
    client: &Client,
    port: u16,
    config: &Arc<ServerConfig>,
    manner: Manner,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut socket = &client.stream;
    match manner {
        Manner::Stall | Manner::CloseInHandshake => {
            let mut acceptor = Acceptor::default();
            while let Ok(None) = acceptor.accept() {
                if acceptor.read_tls(&mut socket)? == 0 {
                    return Ok(());
                }
            }
            if manner == Manner::Stall {
                client.pause(Duration::MAX);
            }
            client.end();
            return Ok(());
        }
        _ => {}
    }
    let mut tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    if let Manner::Slow(pause) = manner {
        let mut slow = Slow { client, pause };
        while tls.is_handshaking() {
            tls.complete_io(&mut slow)?;
        }
    }
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    let words = |octets: Option<&[u8]>| {
        octets.map_or("-".into(), |octets| String::from_utf8_lossy(octets).into_owned())
    };
    lock(seen).push(format!(
        "{:?} {} {}",
        tls.protocol_version().expect("handshake done"),
        words(tls.alpn_protocol()),
        words(tls.server_name().map(str::as_bytes))
    ));
    if manner == Manner::Garbage {
        // After the first octet of a query, so that the client's part of the handshake is over, too.
        Stream::new(&mut tls, &mut socket).read_exact(&mut [0])?;
        socket.write_all(&[b'x'; 100])?;
        client.end();
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    server.set_nodelay(true)?;
    pump(&mut tls, client, &server)?;
    if manner != Manner::NoFarewell {
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut socket)?;
        }
    }
    client.end();
    Ok(())
}

/// Moves octets both ways until either side ends it.
fn pump(tls: &mut ServerConnection, client: &Client, mut server: &TcpStream) -> io::Result<()> {
    let mut socket = &client.stream;
    let mut piece = vec![0; PIECE];
    loop {
        // What came with the end of the handshake is inside already.
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let inside = state.plaintext_bytes_to_read().min(PIECE);
        if inside > 0 {
            tls.reader().read_exact(&mut piece[..inside])?;
            server.write_all(&piece[..inside])?;
            continue;
        }
        while tls.wants_write() {
            tls.write_tls(&mut socket)?;
        }
        let mut both =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        poll(&mut both, PollTimeout::NONE)?;
        let [from_client, from_server] = both.map(|fd| fd.any().unwrap_or(true));
        if from_client && tls.read_tls(&mut socket)? == 0 {
            server.shutdown(Shutdown::Both)?;
            return Ok(());
        }
        if from_server {
            let read = server.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            tls.writer().write_all(&piece[..read])?;
        }
    }
}

/// A client's socket on which writing takes its time.
struct Slow<'a> {
    client: &'a Client,
    pause: Duration,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.client.stream).read(buffer)
    }
}

impl Write for Slow<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if !self.client.pause(self.pause) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        (&self.client.stream).write(octets.get(..1).unwrap_or_default())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
