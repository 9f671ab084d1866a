//! The schema: what the server must be, and how its tables come to be there.
//!
//! Invariant: whatever number of processes starts at once, each migration runs once: all of it
//! happens in one transaction, under an advisory lock of the schema's own, so a process that dies
//! midway leaves nothing behind. Nothing is made, changed or read where another program's object
//! has a name that is needed: see [`super::own_objects`].

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    options::SchemaName,
    own_objects::{self, Contents, MIGRATIONS, MIGRATIONS_TABLE},
};

/// The oldest server that has what the migrations use.
const SERVER_VERSION_MIN: i32 = 13_00_00;

/// Why a server can't serve as the backend.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Too old.
    #[error("the server's version is {0}: Postgres 13 or later is needed")]
    Version(String),
    /// Another encoding than UTF-8 can't hold every event.
    #[error("the database's encoding is {0}: it must be UTF8")]
    Encoding(String),
    /// The schema was made by a later version of this program.
    #[error(
        "the schema is at version {found}, this program knows {known}: run a later version of it"
    )]
    Newer {
        /// The schema's version.
        found: i32,
        /// The latest that is known here.
        known: usize,
    },
    /// A pooler is in between that gives a connection's session to others.
    #[error(
        "the server is reached through a pooler that keeps no sessions (PgBouncer's pool_mode transaction or statement), but Rejoin \
         listens for notifications on them: use pool_mode = session, or a direct connection"
    )]
    NoSessions,
    /// The role may not do what is needed.
    #[error(
        "the role may not make or use what Rejoin needs in the schema {schema} ({message}): as a superuser, run \
         CREATE SCHEMA {schema} AUTHORIZATION the_role, or have all in it belong to the role"
    )]
    Denied {
        /// The schema.
        schema: String,
        /// The server's own words.
        message: String,
    },
    /// There is something else of the same name.
    #[error(
        "the schema {schema} holds something under a name that Rejoin needs, and it is not Rejoin's ({what}); nothing was changed: set \
         postgres.schema to the name of another schema, which is made if it is not there, or rename what is there"
    )]
    Foreign {
        /// The schema.
        schema: String,
        /// What it is: kind and name of each object, or the server's own words.
        what: String,
    },
    /// A statement failed.
    #[error("the schema can't be prepared: {0}")]
    Sql(#[from] sqlx::Error),
}

impl PrepareError {
    /// Whether it may pass by itself: the server went away meanwhile, or is starting.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                ["08", "25", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class))
            }),
            Self::Sql(_) => true,
            Self::Version(_)
            | Self::Encoding(_)
            | Self::Newer { .. }
            | Self::NoSessions
            | Self::Denied { .. }
            | Self::Foreign { .. } => false,
        }
    }

    /// The same with what to do, where that is known.
    fn explained(self, schema: &SchemaName) -> Self {
        let Self::Sql(sqlx::Error::Database(error)) = &self else { return self };
        let (schema, message) = (schema.as_str().to_owned(), error.message().to_owned());
        match error.code().as_deref() {
            Some("42501") => Self::Denied { schema, message },
            // It is there already, or is of another kind, or lacks a column.
            Some("42P07" | "42710" | "42723" | "42P13" | "42P16" | "42809" | "42703" | "42P01") => {
                Self::Foreign { schema, what: message }
            }
            _ => self,
        }
    }
}

/// Makes the schema what this version needs, where it is not, and sees that the journal has its
/// origin.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<(), PrepareError> {
    check_server(connection).await?;
    migrate(connection, schema).await.map_err(|error| error.explained(schema))
}

async fn migrate(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), PrepareError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('rejoin'), hashtext($1))")
        .bind(schema.as_str())
        .execute(&mut *transaction)
        .await?;
    // `IF NOT EXISTS` would ask for the right to make schemas where there is nothing to make.
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(schema.as_str())
            .fetch_one(&mut *transaction)
            .await?;
    let contents = if exists {
        own_objects::look(&mut transaction, schema.as_str()).await?
    } else {
        Contents::Free
    };
    let done = match contents {
        Contents::Free => 0,
        Contents::Ours(version) => version,
        Contents::Foreign(what) => {
            return Err(PrepareError::Foreign { schema: schema.as_str().to_owned(), what });
        }
    };
    let known = MIGRATIONS.len();
    let done = match usize::try_from(done) {
        Ok(done) if done <= known => done,
        _ => return Err(PrepareError::Newer { found: done, known }),
    };
    if !exists {
        run(&mut transaction, format!("CREATE SCHEMA {}", schema.as_str())).await?;
    }
    if done == 0 {
        sqlx::raw_sql(MIGRATIONS_TABLE).execute(&mut *transaction).await?;
    }
    for (version, migration) in (1_i32..).zip(MIGRATIONS).skip(done) {
        sqlx::raw_sql(migration).execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO migrations (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("SELECT renew_origin() WHERE NOT EXISTS (SELECT FROM journal)")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

async fn check_server(connection: &mut PgConnection) -> Result<(), PrepareError> {
    const ASK: &str = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'), \
        pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()";
    let (number, version, encoding): (i32, String, String) =
        sqlx::query_as(ASK).fetch_one(connection).await?;
    if number < SERVER_VERSION_MIN {
        return Err(PrepareError::Version(version));
    }
    if encoding != "UTF8" {
        return Err(PrepareError::Encoding(encoding));
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    // What is put together here is made of a checked name and nothing else.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
