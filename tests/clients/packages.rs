//! The packages of `clients`: each is built, installed from what was built, and tested by its own
//! suite against this server.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// A suite that takes longer, on however busy a machine, hangs.
const SUITE_AT_MOST: Duration = Duration::from_mins(5);

/// Runs a command of a package's, which tests the server of this build.
async fn run(package: &str, program: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(package);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("REJOIN_BIN", env!("CARGO_BIN_EXE_rejoin"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.spawn().unwrap().wait_with_output();
    let output = timeout(SUITE_AT_MOST, output).await.expect("the suite hangs").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{package}: {}\n{out}\n{err}", output.status);
}

#[tokio::test]
async fn the_stores_work_as_they_are_built_and_installed() {
    run("stores", "npm", &["test"]).await;
}

#[tokio::test]
async fn the_python_client_works_as_it_is_built_and_installed() {
    run("python", "scripts/test-artefact", &[]).await;
}
