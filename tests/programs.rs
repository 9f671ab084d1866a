//! The program among others: its commands, clients that others wrote, proxies before it, and
//! applications that move to it.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod proxies;
