//! What two or more programs of the suite share: the configuration, prefix sets, the sandbox,
//! dropping privileges, replacing files, locks and messages.

#![deny(unsafe_code)]

pub mod args;
pub mod clock;
pub mod config;
pub mod error;
pub mod lock;
pub mod message;
pub mod owner;
pub mod prefix;
pub mod privilege;
pub mod replace;
pub mod sandbox;
pub mod set;

pub use config::{Config, Table};
pub use error::Error;
pub use message::Status;
