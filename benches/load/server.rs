//! The servers under load, as processes of their own.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// A server process; it ends with this value.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl ServerProcess {
    /// Rejoin, in mode `jwt`, without a cap on connections.
    pub(crate) fn rejoin() -> Self {
        Self::rejoin_with(&[])
    }

    /// The same with more settings.
    pub(crate) fn rejoin_with(settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
        command.envs(settings.iter().copied());
        command
            .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0")
            .env("REJOIN_AUTH__MODE", "jwt")
            .env("REJOIN_AUTH__JWT__SECRET", rejoin::testing::SECRET);
        command.env("SSE_MAX_CONCURRENT_PER_USER", "0").env("REJOIN_LOG__LEVEL", "warn");
        Self::start(command, Some(token("u1")))
    }

    /// The bare write loop.
    pub(crate) fn bare() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("bare");
        Self::start(command, None)
    }

    fn start(mut command: Command, token: Option<String>) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http://"))
            .unwrap()
            .trim_end_matches([',', '.'])
            .parse()
            .unwrap();
        Self { child, address, token }
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
    }

    /// Processor time so far, in seconds.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    pub(crate) fn subscribe_request(&self) -> String {
        self.request("GET", "")
    }

    /// The request of another user.
    pub(crate) fn subscribe_request_of(&self, user: &str) -> String {
        let token = token(user);
        format!(
            "GET /api/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\r\n",
            self.address
        )
    }

    pub(crate) fn publish_request(&self, payload: &str) -> String {
        let body = format!(r#"{{"user_id":"u1","type":"load","payload":{payload}}}"#);
        self.request(
            "POST",
            &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
        ) + &body
    }

    pub(crate) fn request(&self, method: &str, headers: &str) -> String {
        let token = self.token.as_deref().unwrap_or_default();
        format!(
            "{method} /api/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n{headers}\r\n",
            self.address
        )
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token(user: &str) -> String {
    rejoin::testing::token(Some(user), &[rejoin::domain::access::Scope::EventsPublish])
}
