//! Why Redis can't be used, in words that say what to do.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::{
    domain::topic::Topic,
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// How the system says that it knows no address for a name.
const UNKNOWN_HOST: &str = "failed to lookup address information";
/// What the errors of TLS have in their texts.
const TLS_WORDS: [&str; 3] = ["certificate", "corrupt message", "fatal alert"];

/// Why a server can't be used, or why it did not do what it was asked.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// What the driver or the server says.
    Error(RedisError),
    /// Nothing came back in time.
    Silent,
    /// The server is a replica.
    Replica,
    /// The server is a node of a cluster, and one server was expected.
    ClusterNode,
    /// The server is a Sentinel.
    Sentinel,
}

/// What is wrong, as far as there is something different to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    UnknownHost,
    Refused,
    Silent,
    Tls,
    Closed,
    Password,
    NoDatabase,
    MissingRight,
    ClusterNode,
    NotACluster,
    Sentinel,
    Replica,
    Loading,
    ClusterDown,
    TooOld,
    Full,
    Disk,
    Damaged,
    Connection,
    Other,
}

impl Cause {
    /// What is wrong, and what to do.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::UnknownHost => {
                "the host name in redis.url is not known: correct it, or fix the name service"
            }
            Self::Refused => {
                "no server listens at the address of redis.url: start Redis there, or correct the address"
            }
            Self::Silent => {
                "the server does not answer: see whether it hangs, whether a firewall lies between, and that redis.url begins with \
                 rediss:// only where the server speaks TLS"
            }
            Self::Tls => {
                "TLS failed: see that redis.tls_ca_file names the authority that signed the server's certificate, and that redis.url \
                 begins with rediss:// only where the server speaks TLS"
            }
            Self::Closed => {
                "the server closed the connection: where it does so at once, redis.url may have to begin with rediss://"
            }
            Self::Password => {
                "the user or the password in redis.url is wrong or missing: correct it"
            }
            Self::NoDatabase => {
                "the server has no database of the number in redis.url: name another, or raise its setting `databases`"
            }
            Self::MissingRight => {
                "the user in redis.url lacks a right: grant the commands, keys and channels that docs/backends/redis.md names"
            }
            Self::ClusterNode => "the server is a node of a cluster: set redis.cluster = true",
            Self::NotACluster => "the server is not part of a cluster: set redis.cluster = false",
            Self::Sentinel => {
                "the server is a Sentinel: redis.url has to name the address of the primary"
            }
            Self::Replica => {
                "the server is a replica, and may lag behind: redis.url has to lead to the primary"
            }
            Self::Loading => "the server is loading its data: it will be ready by itself",
            Self::ClusterDown => {
                "the cluster is down, or lacks the node of a key: see `CLUSTER INFO`"
            }
            Self::TooOld => "the server is too old: Redis 6.2 or Valkey 7.2 or later is needed",
            Self::Full => "the server's memory is full: raise its maxmemory, or keep less",
            Self::Disk => "the server can't write to its disk, or lacks replicas: see its log",
            Self::Damaged => {
                "the key is of another type than Rejoin's, or not understood: rename or remove it"
            }
            Self::Connection => "the connection to the server failed",
            Self::Other => "the server refused",
        }
    }
}

impl Failure {
    /// What is wrong.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Error(error) => cause_of(error),
            Self::Silent => Cause::Silent,
            Self::Replica => Cause::Replica,
            Self::ClusterNode => Cause::ClusterNode,
            Self::Sentinel => Cause::Sentinel,
        }
    }

    /// Whether the connection leads to a server that can't be the one that is wanted, at least now.
    /// Nothing was done there, and another connection may lead elsewhere.
    pub(super) fn is_wrong_server(&self) -> bool {
        matches!(
            self.cause(),
            Cause::Replica
                | Cause::Loading
                | Cause::ClusterNode
                | Cause::ClusterDown
                | Cause::Sentinel
        )
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_connection(&self) -> bool {
        self.is_wrong_server()
            || matches!(self, Self::Error(error) if error.is_unrecoverable_error())
    }

    /// What another connection of the process says of the same server.
    pub(super) fn of_another_connection(error: BackendError) -> Self {
        let failure = error.source.and_then(|source| source.downcast::<Self>().ok());
        failure.map_or(Self::Silent, |failure| *failure)
    }

    /// The error of a call, for whom it concerns.
    pub(super) fn of_call(self, context: &'static str) -> BackendError {
        let kind = match &self {
            Self::Silent => BackendErrorKind::Timeout,
            Self::Error(error) if error.is_timeout() => BackendErrorKind::Timeout,
            Self::Error(error)
                if error.is_connection_dropped() && !error.is_connection_refusal() =>
            {
                BackendErrorKind::Disconnected
            }
            Self::Error(error) if cause_of(error) == Cause::Full => BackendErrorKind::Full,
            Self::Error(error) if cause_of(error) == Cause::Other && is_misunderstanding(error) => {
                BackendErrorKind::Rejected
            }
            _ => BackendErrorKind::Unavailable,
        };
        BackendError { source: Some(Box::new(self)), ..BackendError::new(kind, context) }
    }

    /// The error of a call that was never sent, since there is no connection.
    pub(super) fn of_unsent_call(self, context: &'static str) -> BackendError {
        BackendError {
            source: Some(Box::new(self)),
            ..BackendError::new(BackendErrorKind::Unavailable, context)
        }
    }
}

/// The error of a call that was about one topic alone: where a key is of another type, the topic is
/// damaged and the backend is not away.
pub(super) fn about(topic: &Topic) -> impl Fn(BackendError) -> BackendError {
    |error| {
        let cause =
            error.source.as_ref().and_then(|source| source.downcast_ref()).map(Failure::cause);
        match error.source {
            Some(source) if cause == Some(Cause::Damaged) => {
                BackendError::damaged(error.context, topic.clone(), source)
            }
            source => BackendError { source, ..error },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause().advice())?;
        match self {
            Self::Error(error) => write!(f, " ({error})"),
            Self::Silent | Self::Replica | Self::ClusterNode | Self::Sentinel => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::Silent } else { Self::Error(error) }
    }
}

/// Whether a script failed by itself, or the answer is not what a script of ours gives: a fault of
/// this program, which a retry meets again.
fn is_misunderstanding(error: &RedisError) -> bool {
    let is_of_script = error.detail().is_some_and(|detail| detail.contains("user_script"));
    is_of_script || error.kind() == ErrorKind::UnexpectedReturnType
}

fn cause_of(error: &RedisError) -> Cause {
    let says = |words: &str| error.detail().is_some_and(|detail| detail.contains(words));
    // Redis 6 puts the code of a script's error into its text, and the driver that of a cluster's
    // first node.
    let has_code = |code: &str| {
        error.code() == Some(code) || says(&format!("-{code} ")) || says(&format!("\"{code}\""))
    };
    let codes = [
        (&["WRONGPASS", "NOAUTH"][..], Cause::Password),
        (&["NOPERM"], Cause::MissingRight),
        (&["READONLY", "MASTERDOWN"], Cause::Replica),
        (&["LOADING"], Cause::Loading),
        (&["MOVED", "ASK", "CROSSSLOT"], Cause::ClusterNode),
        (&["CLUSTERDOWN"], Cause::ClusterDown),
        (&["OOM"], Cause::Full),
        (&["WRONGTYPE"], Cause::Damaged),
        (&["MISCONF", "NOREPLICAS"], Cause::Disk),
    ];
    if says("The user executing the script") {
        return Cause::MissingRight;
    }
    if let Some((_, cause)) =
        codes.iter().find(|(codes, _)| codes.iter().any(|code| has_code(code)))
    {
        return *cause;
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Cause::Password,
        ErrorKind::RESP3NotSupported => Cause::TooOld,
        ErrorKind::Server(ServerErrorKind::ResponseError) if says("DB index is out of range") => {
            Cause::NoDatabase
        }
        ErrorKind::Server(ServerErrorKind::ResponseError) if says("cluster support disabled") => {
            Cause::NotACluster
        }
        ErrorKind::Server(ServerErrorKind::ResponseError)
            if says("SELECT is not allowed in cluster mode") =>
        {
            Cause::ClusterNode
        }
        ErrorKind::Server(ServerErrorKind::ResponseError)
            if says("without any password configured") =>
        {
            Cause::Password
        }
        ErrorKind::Io | ErrorKind::Client | ErrorKind::Parse => cause_of_connection(error),
        _ => Cause::Other,
    }
}

fn cause_of_connection(error: &RedisError) -> Cause {
    let text = error.to_string();
    if error.is_timeout() || text.contains("timed out") {
        Cause::Silent
    } else if text.contains(UNKNOWN_HOST) {
        Cause::UnknownHost
    } else if error.is_connection_refusal() || text.contains("Connection refused") {
        Cause::Refused
    } else if TLS_WORDS.iter().any(|words| text.contains(words)) {
        Cause::Tls
    } else if error.is_connection_dropped() {
        Cause::Closed
    } else {
        Cause::Connection
    }
}

/// The server answered something that our scripts don't.
pub(super) fn malformed_reply() -> BackendError {
    BackendError::new(BackendErrorKind::Rejected, "make sense of an answer of Redis")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_script_or_of_its_answer_is_not_worth_a_retry() {
        let failed = |kind, detail: &str| RedisError::from((kind, "test", detail.to_owned()));
        let of_server = ErrorKind::Server(ServerErrorKind::ResponseError);
        for (error, kind) in [
            (
                failed(
                    of_server,
                    "user_script:3: attempt to index a nil value script: f_1, on @user_script:3.",
                ),
                BackendErrorKind::Rejected,
            ),
            (failed(ErrorKind::UnexpectedReturnType, "not a number"), BackendErrorKind::Rejected),
            (
                failed(
                    of_server,
                    "Error running script (call to f_1): @user_script:3: -OOM command not allowed",
                ),
                BackendErrorKind::Full,
            ),
            (failed(of_server, "max number of clients reached"), BackendErrorKind::Unavailable),
        ] {
            let text = error.to_string();
            assert_eq!(Failure::from(error).of_call("test").kind, kind, "{text}");
        }
    }
}
