//! The root loader: checks what the unprivileged fetcher left, swaps the pf tables and keeps the
//! files that pf.conf names in step with them.

#![deny(unsafe_code)]

pub mod abi;
pub mod contents;
pub mod guard;
pub mod lines;
pub mod load;
pub mod pf;
pub mod protected;
pub mod room;
pub mod routes;
pub mod said;
pub mod spool;
pub mod statistics;
pub mod unloaded;
