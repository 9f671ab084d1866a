//! What the migrations make in the schema, and whether what stands there under those names is
//! Rejoin's.
//!
//! Invariant: a schema is Rejoin's as far as its table `migrations` says, and only where that table
//! has the columns that Rejoin gave it and every table of the versions it names is there. Any other
//! relation, type or routine of a name that is needed belongs to another program: it is reported,
//! and not changed.
//!
//! The names are read from the migrations themselves, so that a new migration needs no list beside
//! it.

use std::collections::BTreeSet;

use sqlx::PgConnection;

/// Every migration, in order. What was released is never changed: another is added.
pub(super) const MIGRATIONS: [&str; 8] = [
    include_str!("migrations/0001_tables.sql"),
    include_str!("migrations/0002_functions.sql"),
    include_str!("migrations/0003_turns.sql"),
    include_str!("migrations/0004_writable.sql"),
    include_str!("migrations/0005_heads_stay.sql"),
    include_str!("migrations/0006_continuations.sql"),
    include_str!("migrations/0007_announcements_in_order.sql"),
    include_str!("migrations/0008_contents.sql"),
];

/// The table that says which of them were applied.
pub(super) const MIGRATIONS_TABLE: &str = "CREATE TABLE migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// What the schema $1 holds under the names of relations $2, which types share, and of routines $3;
/// in words for an operator. Rejoin's own tables are among them.
const FIND: &str = "SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type'
            ELSE 'index' END AS kind, relname::text AS name
        FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relname = ANY ($2::text[]::name[])
    UNION
    SELECT 'type', typname::text FROM pg_type
        WHERE typnamespace = $1::text::regnamespace AND typname = ANY ($2::text[]::name[]) AND typrelid = 0
    UNION
    SELECT CASE prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, proname::text FROM pg_proc
        WHERE pronamespace = $1::text::regnamespace AND proname = ANY ($3::text[]::name[])
    ORDER BY name, kind";

/// The columns of the relation `migrations` of the schema $1.
const COLUMNS_OF_MIGRATIONS: &str =
    "SELECT coalesce(string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum), '')
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = $1::text::regnamespace AND relname = 'migrations' AND attnum > 0 AND NOT attisdropped";

/// What a statement makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Table,
    Index,
    Routine,
}

/// What stands in a schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Nothing of Rejoin's, and nothing that is in its way.
    Free,
    /// The schema is Rejoin's up to this version, and nothing is in the way of the later ones that
    /// are known here.
    Ours(i32),
    /// Objects of other programs, in words, under names that are needed.
    Foreign(String),
}

/// What a script makes: each `CREATE` stands at the beginning of a line.
fn made_by(script: &str) -> impl Iterator<Item = (Kind, &str)> {
    script.lines().filter_map(|line| {
        let rest = line.strip_prefix("CREATE ")?;
        let rest = rest
            .strip_prefix("OR REPLACE ")
            .or_else(|| rest.strip_prefix("UNIQUE "))
            .unwrap_or(rest);
        let kinds =
            [("TABLE ", Kind::Table), ("INDEX ", Kind::Index), ("FUNCTION ", Kind::Routine)];
        let (kind, rest) =
            kinds.into_iter().find_map(|(word, kind)| Some((kind, rest.strip_prefix(word)?)))?;
        Some((kind, rest.split([' ', '(']).next()?))
    })
}

/// What several scripts make.
fn made_by_all<'a>(scripts: impl IntoIterator<Item = &'a &'a str>) -> BTreeSet<(Kind, &'a str)> {
    scripts.into_iter().flat_map(|script| made_by(script)).collect()
}

/// Looks at a schema that exists.
pub(super) async fn look(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Contents, sqlx::Error> {
    let all = made_by_all(MIGRATIONS.iter().chain([&MIGRATIONS_TABLE]));
    let present = find(connection, schema, &all).await?;
    let has_table = |name: &str| present.contains(&("table".to_owned(), name.to_owned()));
    let version =
        if has_table("migrations") { version_in_table(connection, schema).await? } else { None };
    let Some(version) = version else { return Ok(free_unless(&present)) };

    let (applied, pending) =
        MIGRATIONS.split_at(usize::try_from(version).unwrap_or(0).min(MIGRATIONS.len()));
    let applied = made_by_all(applied);
    let tables = applied.iter().filter(|(kind, _)| *kind == Kind::Table).map(|(_, name)| *name);
    let (there, missing): (Vec<_>, Vec<_>) = tables.partition(|name| has_table(name));
    if there.is_empty() {
        return Ok(free_unless(&present));
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Ok(Contents::Foreign(format!(
            "table migrations: it names version {version}, but Rejoin's tables {missing} are missing"
        )));
    }
    let needed: BTreeSet<_> = made_by_all(pending).difference(&applied).copied().collect();
    Ok(match free_unless(&find(connection, schema, &needed).await?) {
        Contents::Free => Contents::Ours(version),
        other => other,
    })
}

/// What a schema holds that has nothing of Rejoin's.
fn free_unless(present: &[(String, String)]) -> Contents {
    if present.is_empty() {
        return Contents::Free;
    }
    Contents::Foreign(
        present.iter().map(|(kind, name)| format!("{kind} {name}")).collect::<Vec<_>>().join(", "),
    )
}

/// The version in the table `migrations`, where that has Rejoin's columns. Rejoin's own is never
/// empty: it is made together with its first row.
async fn version_in_table(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<Option<i32>, sqlx::Error> {
    let columns: String =
        sqlx::query_scalar(COLUMNS_OF_MIGRATIONS).bind(schema).fetch_one(&mut *connection).await?;
    if columns != "version integer, applied_at timestamp with time zone" {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM migrations").fetch_one(connection).await
}

/// What stands in a schema under these names: its kind in words, and its name.
async fn find(
    connection: &mut PgConnection,
    schema: &str,
    names: &BTreeSet<(Kind, &str)>,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let (routines, relations): (Vec<_>, Vec<_>) =
        names.iter().partition(|(kind, _)| *kind == Kind::Routine);
    let [relations, routines] = [relations, routines]
        .map(|names| names.into_iter().map(|(_, name)| (*name).to_owned()).collect::<Vec<_>>());
    sqlx::query_as(FIND).bind(schema).bind(relations).bind(routines).fetch_all(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_makes_is_read_from_it() {
        let script = "-- CREATE TABLE no (\nCREATE TABLE a (\n    b text\n);\nCREATE UNIQUE INDEX c ON a (b);\nCREATE INDEX d ON a (b);\n\
            CREATE FUNCTION e(x int) RETURNS int LANGUAGE sql AS $$\nCREATE OR REPLACE FUNCTION f() RETURNS int\n\
            CREATE FUNCTION g(\nCREATE TRIGGER t BEFORE DELETE ON a";
        let expected = [
            (Kind::Table, "a"),
            (Kind::Index, "c"),
            (Kind::Index, "d"),
            (Kind::Routine, "e"),
            (Kind::Routine, "f"),
            (Kind::Routine, "g"),
        ];
        assert_eq!(made_by(script).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_statement_that_makes_something_is_understood() {
        for script in MIGRATIONS {
            let creates =
                script.lines().filter(|line| line.trim_start().starts_with("CREATE ")).count();
            let triggers =
                script.lines().filter(|line| line.starts_with("CREATE TRIGGER ")).count();
            assert_eq!(made_by(script).count() + triggers, creates, "{script}");
        }
    }
}
