//! Ships the log of pf(4): pflog captures into text, text to the log service.

#![deny(unsafe_code)]

pub mod backoff;
pub mod check;
pub mod clock;
pub mod collector;
pub mod decoder;
pub mod dump;
pub mod failure;
pub mod filterlog;
pub mod hex;
pub mod ledger;
pub mod logs;
mod members;
pub mod multipart;
pub mod newsyslog;
pub mod outbox;
pub mod part;
pub mod pcap;
pub mod pflog;
pub mod ports;
pub mod post;
pub mod print;
pub mod process;
pub mod report;
pub mod start;
pub mod text;
pub mod uploader;

#[cfg(test)]
mod golden;
