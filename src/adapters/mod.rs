//! What touches the outside world. Driven adapters (backends, authentication, settings) implement
//! ports and know neither the application nor each other; driving adapters (HTTP, the command line)
//! call the application.

pub mod auth;
pub mod backend_kit;
pub mod cli;
pub mod config;
#[cfg(feature = "disk")]
pub mod disk;
pub mod export_lines;
pub mod http;
pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod prometheus;
#[cfg(feature = "redis")]
pub mod redis;
pub mod shown_url;
pub mod system_clock;
pub mod system_entropy;
pub mod traces;
