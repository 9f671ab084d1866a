//! Several processes over one backend, while processes, connections and the backend itself are killed.

#[cfg(test)]
mod engine;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod publisher;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod together;
#[cfg(test)]
mod witness;
