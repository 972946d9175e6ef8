//! A relay between a client and a server on loopback that tells how many TCP segments with data each of them sent: what
//! a run costs the network.
//!
//! The segments are counted by the system, at the relay's end of each connection, so that it does not matter how the
//! relay itself cuts what it passes on.

use std::io;
use std::mem::size_of_val;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::policy_server::listener::{Client, Listener, lock};

/// Segments with data, on all connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Those that clients sent.
    pub client: u32,
    /// Those that the server sent.
    pub server: u32,
}

/// A relay on an ephemeral port of 127.0.0.1. Dropping it ends its connections.
pub struct Relay {
    listener: Listener,
    seen: Arc<Mutex<Segments>>,
}

impl Relay {
    /// Starts a relay to a server on this port of 127.0.0.1.
    ///
    /// # Errors
    /// What the system says to the socket or the thread.
    pub fn start(server: u16) -> io::Result<Relay> {
        let seen = Arc::new(Mutex::new(Segments::default()));
        let counts = Arc::clone(&seen);
        let listener = Listener::ipv4(move |client| {
            if let Err(error) = relay(&client, server, &counts) {
                eprintln!("tests: relay: {error}");
            }
        })?;
        Ok(Relay { listener, seen })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Waits until all clients have gone, and tells what was sent since it was called last.
    pub fn take(&self) -> Segments {
        while self.listener.is_busy() {
            thread::yield_now();
        }
        std::mem::take(&mut lock(&self.seen))
    }
}

/// Passes on what both sides send until the client has no more to say, and then counts: the client has got all that it
/// wanted.
fn relay(client: &Client, server: u16, seen: &Mutex<Segments>) -> io::Result<()> {
    let client = &client.stream;
    let server = &TcpStream::connect((Ipv4Addr::LOCALHOST, server))?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*server, &mut &*client);
            let _ = client.shutdown(Shutdown::Write);
        });
        let copied = io::copy(&mut &*client, &mut &*server);
        let counted = received(client).and_then(|from_client| Ok((from_client, received(server)?)));
        // The other thread ends by this.
        let _ = server.shutdown(Shutdown::Both);
        let (from_client, from_server) = copied.and(counted)?;
        let mut seen = lock(seen);
        seen.client += from_client;
        seen.server += from_server;
        Ok(())
    })
}

/// The place of `tcpi_data_segs_in` in Linux's `struct tcp_info` (linux/tcp.h), in units of four octets. libc's structure
/// ends before it.
const DATA_SEGS_IN: usize = 38;

/// How many segments with data came on a connection (RFC 4898, tcpEStatsPerfDataSegsIn).
fn received(stream: &TcpStream) -> io::Result<u32> {
    let mut info = [0u32; DATA_SEGS_IN + 1];
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as the stream is borrowed; `info` is writable for the `size` octets that are
    // told, and any octets are valid in it.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut size,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    assert_eq!(size as usize, size_of_val(&info), "this system's tcp_info has no count of segments");
    Ok(info[DATA_SEGS_IN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn counts_the_segments_of_each_side() {
        // A server that answers each octet with one octet, but the last with nothing.
        let server = Listener::ipv4(|client| {
            let mut octet = [0];
            while (&client.stream).read_exact(&mut octet).is_ok() && octet != [0] {
                let _ = (&client.stream).write_all(&octet);
            }
        })
        .unwrap();
        let relay = Relay::start(server.port()).unwrap();
        for count in 1..=3 {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
            for _ in 0..count {
                stream.write_all(&[1]).unwrap();
                stream.read_exact(&mut [0]).unwrap();
            }
            stream.write_all(&[0]).unwrap();
            drop(stream);
            assert_eq!(relay.take(), Segments { client: count + 1, server: count });
        }
        assert_eq!(relay.take(), Segments::default());
    }
}
