//! A proxy in front of a name server, which sees each query and can hold it back until something has happened.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::policy_server::hostile::framed;
use crate::policy_server::listener::{Client, Listener, lock};
use crate::policy_server::wire::Question;

/// A proxy on an ephemeral port of 127.0.0.1 for the server on another one. Dropping it ends it and its connections.
pub struct Proxy {
    listener: Listener,
    queries: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Proxy {
    /// Starts a proxy that calls `before` with each query, and passes it on when that returns. Answers pass as they come.
    ///
    /// # Errors
    /// What the system says to the socket or the thread.
    pub fn start(port: u16, before: impl Fn(&Question) + Send + Sync + 'static) -> io::Result<Proxy> {
        let queries = Arc::new(Mutex::new(Vec::new()));
        let seen = queries.clone();
        let listener = Listener::ipv4(move |client| {
            // An end is an end, whoever comes to it: the client sees it.
            let _ = serve(&client, port, &|question| {
                lock(&seen).push((question.name.clone(), question.rtype));
                before(question);
            });
        })?;
        Ok(Proxy { listener, queries })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// The names (lower case, without final dot) and types asked for so far.
    #[must_use]
    pub fn queries(&self) -> Vec<(String, u16)> {
        lock(&self.queries).clone()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.listener.accepted()
    }
}

fn serve(client: &Client, port: u16, before: &dyn Fn(&Question)) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut answers, mut back) = (server.try_clone()?, client.stream.try_clone()?);
    let copier = thread::spawn(move || {
        let _ = io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let passed = queries(&client.stream, &server, before);
    let _ = server.shutdown(Shutdown::Both);
    let _ = copier.join();
    passed
}

/// Passes queries on until one side ends.
fn queries(mut client: &TcpStream, mut server: &TcpStream, before: &dyn Fn(&Question)) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        client.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        client.read_exact(&mut query)?;
        Question::parse(&query).iter().for_each(before);
        server.write_all(&framed(&query))?;
    }
}
