//! The directory: whose it is, and what is told where it can't be used.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Stdio,
};

use rejoin::{
    adapters::disk::{Disk, OpenError},
    domain::{
        cursor::Continuity,
        page::PageLimit,
        position::Position,
        topic::{Topic, UserId},
    },
    ports::journal::Append,
    testing::event,
};
use tempfile::TempDir;
use tokio::process::Command;

use super::{context, open, options};

const AMPLE: PageLimit = PageLimit { entries_max: 1_000, bytes_max: 1 << 22 };

fn append(user: &str, key: Option<&str>) -> Append {
    let idempotency_key =
        key.map(|key| rejoin::domain::idempotency_key::IdempotencyKey::parse(key).unwrap());
    Append { user: UserId::parse(user).unwrap(), event: event("{}"), idempotency_key }
}

#[tokio::test]
async fn promise_4_all_that_counts_is_there_when_the_store_is_opened_again() {
    let folder = TempDir::new().unwrap();
    let (mut told, mut bounds) = (Vec::new(), None);
    for round in 0..6 {
        let disk = open(folder.path()).await;
        let journal = disk.ports().journal;
        let topic = Topic::User(UserId::parse("u1").unwrap());
        if let Some(bounds) = bounds {
            assert_eq!(journal.bounds(&topic).await.unwrap(), bounds, "origin, floor and head");
            let again =
                journal.append(vec![append("u1", Some(&format!("k{}", round - 1)))]).await.unwrap();
            assert!(again[0].as_ref().unwrap().duplicate, "keys are kept");
        }
        for appended in journal
            .append(vec![append("u1", Some(&format!("k{round}"))), append("u1", None)])
            .await
            .unwrap()
        {
            told.push(appended.unwrap().id);
        }
        let page = journal.read(&topic, Position::Start, AMPLE).await.unwrap();
        assert_eq!(page.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), told);
        assert_eq!(page.bounds.continuity(told[0].into()), Continuity::Whole);
        bounds = Some(journal.bounds(&topic).await.unwrap());
        // Every other time all is in the table, and else in the log.
        if round % 2 == 0 {
            disk.checkpoint().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_the_directory_is_its_owners_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b");
    let disk = open(&path).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let refused = Disk::open(&options(&path), &context()).err().unwrap();
    assert!(refused.to_string().contains("is in use by another process"), "{refused}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command
        .arg("serve")
        .env("REJOIN_EVENTS__BACKEND", "disk")
        .env("REJOIN_DISK__PATH", &path)
        .env("REJOIN_SERVER__LISTEN", "127.0.0.1:0");
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && said.contains("is in use by another process")
            && said.contains("disk.path"),
        "{said}"
    );
    drop(disk);
}

#[tokio::test]
async fn a_directory_that_can_not_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refused = Disk::open(&options(&path), &context()).err().unwrap();
        assert!(
            matches!(refused, OpenError::Directory(_))
                && refused.to_string().contains(path.to_str().unwrap()),
            "{refused}"
        );
    }
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).unwrap();
    // Who is root may write all the same.
    if fs::write(closed.join("try"), "").is_err() {
        assert!(Disk::open(&options(&closed), &context()).is_err());
    }
}

#[tokio::test]
async fn a_damaged_store_is_not_opened_and_nothing_is_changed() {
    let folder = TempDir::new().unwrap();
    {
        let disk = open(folder.path()).await;
        disk.ports().journal.append(vec![append("u1", None)]).await.unwrap();
        disk.checkpoint().await.unwrap();
    }
    super::released(folder.path()).await;
    let table = folder.path().join("rejoin.redb");
    let whole = fs::read(&table).unwrap();
    for damaged in [Vec::new(), b"something else".repeat(1_000), whole[..whole.len() / 2].to_vec()]
    {
        fs::write(&table, &damaged).unwrap();
        let refused = Disk::open(&options(folder.path()), &context())
            .err()
            .map(|refused| refused.to_string());
        assert!(
            refused
                .as_ref()
                .is_some_and(|refused| refused.contains(folder.path().to_str().unwrap())),
            "{refused:?}"
        );
    }
    let mut flipped = whole.clone();
    // In each block but the header.
    for place in (5_000..flipped.len()).step_by(4_104) {
        flipped[place] ^= 1;
    }
    fs::write(&table, &flipped).unwrap();
    let refused = Disk::open(&options(folder.path()), &context()).err().unwrap();
    assert!(
        matches!(refused, OpenError::Damaged { .. })
            && refused.to_string().contains("Restore a backup"),
        "{refused}"
    );
    fs::remove_file(&table).unwrap();
    let refused = Disk::open(&options(folder.path()), &context()).err().unwrap();
    assert!(
        matches!(refused, OpenError::Damaged { .. })
            && refused.to_string().contains("rejoin.redb is missing"),
        "{refused}"
    );
    assert!(!table.exists(), "no empty journal takes its place");
}
