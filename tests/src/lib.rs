//! The test harness: a firewall's files and the real programs, a model of pf(4), a policy name server, a log server, and
//! TLS in front of a server that has none.
pub mod capture;
pub mod fuzz;
pub mod log_server;
pub mod machine;
pub mod name_server;
pub mod newsyslog;
pub mod packets;
pub mod pf;
pub mod pflog;
pub mod policy_server;
pub mod segments;
pub mod steps;
pub mod tls_front;
