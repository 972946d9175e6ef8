//! The policy client: asks name servers for the lists of a policy and leaves what they hold as
//! prefixes in the spool, one file for each table.
//!
//! From the wire inwards: `socket` connects and keeps the time, `tls` says whom to trust,
//! `connection` moves messages, `tsig` signs and checks them, `answer` reads one, `apl` and `txt`
//! read its records, `axfr` reads a zone transfer, `list` puts a list together, `client` chooses
//! the server, `policy` makes a table's set of prefixes, `spool` writes it.

#![forbid(unsafe_code)]

pub mod answer;
pub mod apl;
pub mod axfr;
pub mod check;
pub mod chunk;
pub mod client;
pub mod compare;
pub mod connection;
pub mod credentials;
pub mod failure;
pub mod jitter;
pub mod keyfile;
pub mod limits;
pub mod list;
pub mod policy;
pub mod rpz;
pub mod server;
pub mod settings;
pub mod soa;
pub mod socket;
pub mod spool;
pub mod table;
pub mod tls;
pub mod tsig;
pub mod txt;
pub mod wire;

#[cfg(test)]
mod testing;
