//! An HTTP proxy that lets clients through to this machine with CONNECT (RFC 9110, section 9.3.6).

use super::http::{Request, bad};
use crate::policy_server::listener::{Client, Listener, lock};
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a proxy does with those who want through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Lets everybody through.
    Open,
    /// Lets those through who send this `Proxy-Authorization`, and answers others with 407.
    Password(String),
    /// Answers with this status.
    Closed(u16),
    /// Reads, and answers nothing.
    Silent,
}

/// A proxy on an ephemeral port of 127.0.0.1. Dropping it ends it with all its connections.
pub struct Proxy {
    listener: Listener,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Starts a proxy.
    ///
    /// # Errors
    /// What the system says to the socket or the thread.
    pub fn start(gate: Gate) -> io::Result<Self> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let listener = Listener::ipv4(move |client| {
            // A client that goes away is none of the proxy's concern.
            let _ = serve(&client, &gate, &seen);
        })?;
        Ok(Proxy { listener, requests })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listener.port())
    }

    /// The requests that were read so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests).clone()
    }
}

fn serve(client: &Client, gate: &Gate, seen: &Mutex<Vec<Request>>) -> io::Result<()> {
    // Nothing follows a request until it is answered, so no octet is lost with the reader.
    let Some(request) = Request::read(&mut BufReader::new(&client.stream))? else { return Ok(()) };
    lock(seen).push(request.clone());
    let port = request.path.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let (Some(port), "CONNECT") = (port, request.method.as_str()) else {
        return Err(bad("proxy: not CONNECT host:port"));
    };
    let status = match gate {
        Gate::Password(wanted) if request.header("proxy-authorization") != Some(wanted) => 407,
        Gate::Closed(status) => *status,
        Gate::Silent => {
            client.pause(Duration::MAX);
            return Ok(());
        }
        _ => 200,
    };
    let mut stream = &client.stream;
    write!(stream, "HTTP/1.1 {status} Proxy\r\n\r\n")?;
    if status != 200 {
        client.end();
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    thread::scope(|scope| {
        scope.spawn(|| pass(&server, &client.stream));
        pass(&client.stream, &server);
    });
    Ok(())
}

/// Passes on what one side sends until it ends, then ends the other.
fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
