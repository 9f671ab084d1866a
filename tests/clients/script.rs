//! Scripts of this directory, in Node and in Python: commands go in, a line of JSON comes out for
//! each thing that they see.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;

/// A running script. It ends when it is dropped, and with this process however that ends: its
/// standard input does.
pub(crate) struct Script {
    child: Child,
    pub(crate) commands: ChildStdin,
}

impl Script {
    /// Starts a script. `lines` gets all that it says, on a thread of its own.
    pub(crate) fn start(
        name: &str,
        arguments: &[&str],
        lines: impl FnOnce(&mut dyn Iterator<Item = Value>) + Send + 'static,
    ) -> Self {
        let script = directory().join(name);
        let interpreter = interpreter(&script);
        let mut child = Command::new(&interpreter)
            .arg(script)
            .args(arguments)
            .envs([("PYTHONDONTWRITEBYTECODE", "yes"), ("NO_PROXY", "*")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Passed on, not inherited: who waits for the end of our output does not wait for the
            // script's.
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} can't be run ({error}): run scripts/test", interpreter.display())
            });
        let mut complaints = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut complaints, &mut std::io::stderr()));
        let (commands, output) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || {
            lines(
                &mut output
                    .lines()
                    .map_while(Result::ok)
                    .map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))),
            );
        });
        Self { child, commands }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Either can only fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the scripts and the packages that they use are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// What runs a script, beside the packages that it needs.
pub(crate) fn interpreter(script: &Path) -> PathBuf {
    let is_python = script.extension().is_some_and(|extension| extension == "py");
    let packages = directory().join(if is_python { ".venv" } else { "node_modules" });
    assert!(packages.is_dir(), "{} is not there: run scripts/test", packages.display());
    if is_python { packages.join("bin/python") } else { "node".into() }
}
