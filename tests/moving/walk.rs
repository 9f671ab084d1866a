//! Does what a page says: all its steps, one after the other in one shell, in an empty folder.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use rejoin_test_support::PATIENCE;
use tempfile::TempDir;
use tokio::process::Command;

use crate::moving::{
    environment::Environment,
    page::{Step, masked},
};

/// What an operator's `redis-cli` and `curl` do here: the one asks the private Redis, and with the
/// other a stream is left after the time that the page gives it, which is no failure.
const WRAPPERS: [(&str, &str); 2] = [
    ("redis-cli", "#!/bin/sh\nexec /usr/bin/redis-cli -p $REDIS_PORT \"$@\"\n"),
    ("curl", "#!/bin/sh\n/usr/bin/curl \"$@\"\ncode=$?\n[ $code = 28 ] && exit 0\nexit $code\n"),
];

/// What was started is ended, however the script ends.
const BEGINNING: &str = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";

/// Goes through all steps, and compares what they print with what the page says of it; none may
/// complain. Gives what each of them printed.
pub(crate) async fn walk(page: &str, steps: &[Step], environment: &Environment) -> Vec<String> {
    let (folder, outputs, programs) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    for (name, text) in WRAPPERS {
        let path = programs.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let blocks = steps.iter().enumerate().map(|(number, step)| {
        let output = outputs.path().join(number.to_string());
        let output = output.display();
        format!("{{\n{}\n}} > {output}.out 2> {output}.err\n", environment.adapted(&step.script))
    });
    let script: String = std::iter::once(BEGINNING.to_owned()).chain(blocks).collect();
    let program = Path::new(env!("CARGO_BIN_EXE_rejoin")).parent().unwrap();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &script])
        .current_dir(folder.path())
        .env_clear()
        .env(
            "PATH",
            format!(
                "{}:{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                programs.path().display(),
                program.display()
            ),
        )
        .env("HOME", folder.path())
        .env("REDIS_PORT", environment.redis.port().to_string())
        // Where a page counts on the default address.
        .env("REJOIN_SERVER__LISTEN", environment.adapted("127.0.0.1:8080"))
        .env("REJOIN_URL", environment.adapted("http://127.0.0.1:8080"))
        .env("TESTS", concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
        .stdin(Stdio::null())
        .process_group(0);
    let mut shell = shell.spawn().unwrap();
    let group = Group(shell.id().unwrap());
    let ended = tokio::time::timeout(4 * PATIENCE, shell.wait()).await;
    drop(group);
    let printed = |number: usize, kind: &str| {
        fs::read_to_string(outputs.path().join(format!("{number}.{kind}"))).unwrap_or_default()
    };
    let log = fs::read_to_string(folder.path().join("rejoin.log")).unwrap_or_default();
    if !matches!(&ended, Ok(Ok(status)) if status.success()) {
        let last = (0..steps.len())
            .rev()
            .find(|number| outputs.path().join(format!("{number}.out")).exists())
            .unwrap_or(0);
        let (out, err, line) = (printed(last, "out"), printed(last, "err"), steps[last].line);
        panic!("{page}:{line}: {ended:?}\n{out}\n{err}\nthe log: {log}");
    }
    let mut differing = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let (out, err) = (printed(number, "out"), printed(number, "err"));
        let is_as_said = step.output.as_ref().is_none_or(|said| {
            masked(out.trim_end()) == masked(environment.adapted(said).trim_end())
        });
        if !is_as_said || !err.is_empty() {
            differing.push(format!("{page}:{} prints\n{out}\n{err}", step.line));
        }
    }
    assert!(differing.is_empty(), "{}\nthe log: {log}", differing.join("\n"));
    (0..steps.len()).map(|number| printed(number, "out")).collect()
}

/// All processes that a script started. They end with the value.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        // None may be left, which is what is wanted.
        let _ = std::process::Command::new("kill")
            .args(["-KILL", "--", &format!("-{}", self.0)])
            .stderr(Stdio::null())
            .status();
    }
}
