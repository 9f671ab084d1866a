//! The backends: the laws that each of them keeps, what one alone has, and several processes over
//! one of them.

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod nats;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod redis;
