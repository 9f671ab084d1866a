//! Why no connection could be had, in words that say what to do about it.
//!
//! Invariant: each mistake that an operator can make has words of its own, and no password is among
//! them.

use std::io::ErrorKind;

use sqlx::postgres::PgConnectOptions;

/// The server's address, as the settings name it.
pub(super) fn address(server: &PgConnectOptions) -> String {
    match server.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", server.get_host(), server.get_port()),
    }
}

/// What went wrong when a connection was opened.
pub(super) fn why(server: &PgConnectOptions, error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => why_no_way(server, error),
        sqlx::Error::Tls(error) => {
            let at = address(server);
            format!(
                "TLS with the server at {at} failed ({error}): check sslmode and sslrootcert in postgres.url, and the server's certificate"
            )
        }
        sqlx::Error::Database(error) => {
            why_refused(server, error.code().as_deref().unwrap_or_default(), error.message())
        }
        other => format!(
            "no connection to the server at {} ({other}): is that a Postgres?",
            address(server)
        ),
    }
}

fn why_no_way(server: &PgConnectOptions, error: &std::io::Error) -> String {
    let (at, host) = (address(server), server.get_host());
    if error.to_string().contains("lookup address") {
        return format!(
            "the host name {host} can't be resolved ({error}): check the host in postgres.url, and DNS"
        );
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => {
            format!(
                "nothing listens at {at} (connection refused): check host and port in postgres.url, and whether Postgres runs there"
            )
        }
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            format!(
                "a file that postgres.url names, or the socket of {at}, can't be opened: {error}"
            )
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => {
            format!(
                "the server at {at} ended the connection while it began ({error}): is that a Postgres, and did it just stop?"
            )
        }
        _ => format!(
            "the server at {at} can't be reached ({error}): check the network on the way to it"
        ),
    }
}

fn why_refused(server: &PgConnectOptions, code: &str, message: &str) -> String {
    let (at, role) = (address(server), server.get_username());
    let database = server.get_database().unwrap_or(role);
    match code {
        _ if message.contains("unsupported startup parameter") => format!(
            "the pooler at {at} refuses a parameter of the connection ({message}): take it out of postgres.url, or add it to the \
             pooler's ignore_startup_parameters"
        ),
        "28P01" => format!(
            "the server at {at} refuses the password of role {role} ({message}): check user and password in postgres.url"
        ),
        _ if code.starts_with("28") => {
            format!(
                "the server at {at} does not let role {role} in ({message}): check the user in postgres.url, and the server's pg_hba.conf"
            )
        }
        "3D000" => format!(
            "there is no database {database} at {at} ({message}): make it, or check the database in postgres.url"
        ),
        "42501" => {
            format!(
                "role {role} may not use database {database} at {at} ({message}): GRANT CONNECT ON DATABASE {database} TO {role}"
            )
        }
        "53300" => {
            format!(
                "the server at {at} has no connection left ({message}): raise its max_connections, or lower postgres.max_connections"
            )
        }
        "57P03" => format!(
            "the server at {at} takes no connections at the moment ({message}): it starts, stops or recovers"
        ),
        _ => format!("the server at {at} refuses the connection ({message}, SQLSTATE {code})"),
    }
}

/// Whether the server, or a pooler before it, will say the same until something is changed:
/// wrong credentials, no such database, no right to it, a parameter that it does not take.
pub(super) fn is_for_good(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let is_known = error
        .code()
        .is_some_and(|code| ["28", "3D", "42"].iter().any(|class| code.starts_with(class)));
    is_known || error.message().contains("unsupported startup parameter")
}
