//! A folder that is served as README says: by Python, on this machine alone.

use std::{path::Path, process::Stdio};

use rejoin_test_support::soon;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The server of a folder. It ends when it is dropped.
pub(crate) struct ServedFolder {
    _python: Child,
    port: String,
}

impl ServedFolder {
    pub(crate) async fn start(folder: &Path) -> Self {
        let mut python = Command::new("python3");
        python
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(folder);
        let mut python =
            python.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
        // "Serving HTTP on 127.0.0.1 port 8000 (http://127.0.0.1:8000/) ..."
        let line = soon("its first line", lines.next_line()).await.unwrap().unwrap();
        let port =
            line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
        Self { _python: python, port }
    }

    /// Where its pages come from, for a browser.
    pub(crate) fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }
}
