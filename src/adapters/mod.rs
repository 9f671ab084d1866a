//! What touches the outside world. Driven adapters implement ports; driving adapters call the application.

pub mod auth;
