//! The socket of a connection, with TLS or without, on which everything ends at a deadline.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

/// A TCP socket. On OpenBSD setting the time needs the promise `inet`, for as long as the socket
/// is used.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    deadline: Instant,
}

impl Tcp {
    /// Connects before the deadline, which is also that of what comes next.
    ///
    /// # Errors
    /// The system's; `TimedOut` at the deadline.
    pub fn connect(address: SocketAddr, deadline: Instant) -> io::Result<Tcp> {
        let stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
        stream.set_nodelay(true)?;
        Ok(Tcp { stream, deadline })
    }
}

/// The time until a deadline, which is not over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// What the system says at a socket's time limit.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Tcp {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(octets).map_err(timed_out)
    }

    /// Several records of TLS in one segment.
    fn write_vectored(&mut self, octets: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write_vectored(octets).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What messages go over. TLS reads and writes through `Tcp`, so that its deadline holds whatever
/// the server sends.
#[derive(Debug)]
pub enum Socket {
    /// As they are.
    Plain(Tcp),
    /// Over TLS, whose handshake is done.
    Tls(Box<StreamOwned<ClientConnection, Tcp>>),
}

impl Socket {
    /// Sets when everything from now on ends.
    pub fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Socket::Plain(tcp) => tcp.deadline = deadline,
            Socket::Tls(tls) => tls.sock.deadline = deadline,
        }
    }

    /// Sends messages, all at once.
    ///
    /// # Errors
    /// The system's; `TimedOut` at the deadline.
    pub fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Socket::Plain(tcp) => tcp.write_all(&messages.concat()),
            // Each in a record of its own: after a query, nsd(8) 4.6 waits for its socket to have
            // more, though it has decrypted the next one already.
            Socket::Tls(tls) => {
                messages.iter().try_for_each(|message| tls.conn.writer().write_all(message))?;
                tls.flush()
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => tcp.read(buffer),
            Socket::Tls(tls) => tls.read(buffer),
        }
    }
}
