//! Listening sockets with one thread per connection, which stop at once when told to, whatever the clients do.

use nix::sys::socket::{Shutdown as HalfClose, shutdown};
use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The wait before accept(2) is tried again after an error.
const RETRY: Duration = Duration::from_millis(10);
/// How often another port is tried where the one that IPv4 got is taken on IPv6.
const PORT_TRIES: usize = 16;

/// A mutex's content, also after a thread died with it: one failed connection must not fail the others.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listening sockets and the threads behind them. Dropping it ends them all.
pub(crate) struct Listener {
    port: u16,
    sockets: Vec<Arc<TcpListener>>,
    acceptors: Vec<JoinHandle<()>>,
    state: Arc<State>,
}

/// What the threads of one listener share.
#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    stop: Condvar,
}

#[derive(Default)]
struct Inner {
    stopping: bool,
    accepted: usize,
    open: HashMap<usize, TcpStream>,
    workers: Vec<JoinHandle<()>>,
}

/// One accepted connection, counted from 0.
pub(crate) struct Client {
    /// The connection.
    pub(crate) stream: TcpStream,
    number: usize,
    state: Arc<State>,
}

impl Listener {
    /// Listens on an ephemeral port of 127.0.0.1 and runs `serve` in a thread of its own for each connection.
    pub(crate) fn ipv4<F>(serve: F) -> io::Result<Self>
    where
        F: Fn(Client) + Send + Sync + 'static,
    {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Self::run(vec![socket], serve)
    }

    /// The same on one port of both 127.0.0.1 and ::1; an error where the machine has no IPv6.
    pub(crate) fn dual<F>(serve: F) -> io::Result<Self>
    where
        F: Fn(Client) + Send + Sync + 'static,
    {
        Self::run(bind_dual()?, serve)
    }

    fn run<F>(sockets: Vec<TcpListener>, serve: F) -> io::Result<Self>
    where
        F: Fn(Client) + Send + Sync + 'static,
    {
        let mut listener =
            Listener { port: 0, sockets: Vec::new(), acceptors: Vec::new(), state: Arc::default() };
        let serve = Arc::new(serve);
        for socket in sockets {
            listener.port = socket.local_addr()?.port();
            let socket = Arc::new(socket);
            listener.sockets.push(Arc::clone(&socket));
            let (state, serve) = (Arc::clone(&listener.state), Arc::clone(&serve));
            listener.acceptors.push(thread::Builder::new().spawn(move || accept(&socket, &state, &serve))?);
        }
        Ok(listener)
    }

    /// The port, the same on all addresses.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether a connection is open.
    pub(crate) fn is_busy(&self) -> bool {
        !lock(&self.state.inner).open.is_empty()
    }

    /// How many connections were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        lock(&self.state.inner).accepted
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        {
            let mut inner = lock(&self.state.inner);
            inner.stopping = true;
            for stream in inner.open.values() {
                // Fails only where the connection is gone already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.state.stop.notify_all();
        for socket in &self.sockets {
            // On Linux this makes a waiting accept(2) return EINVAL.
            let _ = shutdown(socket.as_raw_fd(), HalfClose::Both);
        }
        // The acceptors first: only they add workers. A thread that panicked has said so on standard error.
        for acceptor in self.acceptors.drain(..) {
            let _ = acceptor.join();
        }
        let workers = std::mem::take(&mut lock(&self.state.inner).workers);
        for worker in workers {
            let _ = worker.join();
        }
    }
}

impl Client {
    /// Waits, but not beyond the end of the server: false if that has come.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let until = Instant::now().checked_add(time);
        let mut inner = lock(&self.state.inner);
        while !inner.stopping {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return true;
            }
            inner = self.state.stop.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Sends the end of the stream, then reads what the client still sends until it closes too.
    /// Without that, unread octets would turn the end into a reset, which may overtake octets sent before it.
    pub(crate) fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(None);
        let mut rest = [0; 4096];
        while (&self.stream).read(&mut rest).is_ok_and(|n| n > 0) {}
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        lock(&self.state.inner).open.remove(&self.number);
    }
}

fn bind_dual() -> io::Result<Vec<TcpListener>> {
    let mut tries = 0;
    loop {
        let four = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        match TcpListener::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), four.local_addr()?.port())) {
            Ok(six) => return Ok(vec![four, six]),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse || tries == PORT_TRIES => {
                return Err(error);
            }
            Err(_) => tries += 1,
        }
    }
}

fn accept<F>(socket: &TcpListener, state: &Arc<State>, serve: &Arc<F>)
where
    F: Fn(Client) + Send + Sync + 'static,
{
    loop {
        let accepted = socket.accept();
        let Some(client) = admit(accepted, state) else { return };
        let Ok(client) = client else {
            // Out of descriptors, or a client that gave up while waiting: neither is a reason to stop.
            thread::sleep(RETRY);
            continue;
        };
        let (number, serve) = (client.number, Arc::clone(serve));
        match thread::Builder::new().spawn(move || serve(client)) {
            Ok(worker) => lock(&state.inner).workers.push(worker),
            Err(error) => eprintln!("tests: connection {number}: {error}"),
        }
    }
}

/// Registers a new connection, so that the end of the server ends it too; None once that end has come.
fn admit(accepted: io::Result<(TcpStream, SocketAddr)>, state: &Arc<State>) -> Option<io::Result<Client>> {
    let mut inner = lock(&state.inner);
    if inner.stopping {
        return None;
    }
    inner.workers.retain(|worker| !worker.is_finished());
    let (stream, handle) = match accepted.and_then(|(stream, _)| Ok((stream.try_clone()?, stream))) {
        Ok(both) => both,
        Err(error) => return Some(Err(error)),
    };
    // Answers in small pieces must not wait for each other.
    let _ = stream.set_nodelay(true);
    let number = inner.accepted;
    inner.accepted += 1;
    inner.open.insert(number, handle);
    Some(Ok(Client { stream, number, state: Arc::clone(state) }))
}
