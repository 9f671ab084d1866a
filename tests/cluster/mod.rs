//! Several processes over one backend, while processes, connections and the backend itself are
//! killed.

mod engine;
mod nats;
mod postgres;
mod publisher;
mod redis;
mod storm;
mod together;
mod witness;
