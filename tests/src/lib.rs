//! The test harness: a firewall's files and the real programs, a model of pf(4), a policy name server and a log server.
pub mod fuzz;
pub mod log_server;
pub mod machine;
pub mod name_server;
pub mod pf;
pub mod pflog;
pub mod policy_server;
