//! The server over real sockets.

#[cfg(test)]
mod auth;
#[cfg(test)]
mod http;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod operate;
