//! The examples do what they say.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use rejoin_test_support::{ServerProcess, eventually, soon};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

use crate::clients::script;

/// What every model begins with.
const FIRST_WORDS: &str = "The ";

/// An example: its folder, its scripts, and how its reader ends.
struct Example {
    folder: &'static str,
    model: &'static str,
    reader: &'static str,
    /// What the reader prints behind an answer that is over, or nothing where that is not shown
    /// again.
    whole: Option<&'static str>,
    /// The same where the answer was stopped.
    stopped: &'static str,
}

#[tokio::test]
async fn each_shows_an_answer_that_is_under_way_stopped_and_over() {
    let python = |folder, whole, stopped| Example {
        folder,
        model: "model.py",
        reader: "read.py",
        whole: Some(whole),
        stopped,
    };
    tokio::join!(
        run(Example {
            folder: "ai-sdk",
            model: "model.mjs",
            reader: "chat.mjs",
            whole: None,
            stopped: "\n",
        }),
        run(python("openai-responses", "[response.completed]\n", "[response.incomplete]\n")),
        run(python("anthropic", " tokens]\n", " tokens]\n")),
        run(python("langgraph", "[end]\n", "[end]\n")),
    );
}

async fn run(example: Example) {
    let place = Place::of(&example);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoin"));
    command.args(["serve", "--memory", "--config"]).arg(place.path("rejoin.toml"));
    let server = ServerProcess::start_by(command).await;
    let url = format!("http://{}", server.address());

    // One that is read to its end, afterwards.
    let model = place.script(example.model, &url, "whole", "1000").spawn().unwrap();
    let output = soon("the model", model.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", example.folder);
    let whole = place.script(example.reader, &url, "whole", "").output();
    let whole: Output = soon("the reader", whole).await.unwrap();
    let text = String::from_utf8(whole.stdout).unwrap();
    if let Some(end) = example.whole {
        assert!(text.starts_with(FIRST_WORDS) && text.ends_with(end), "{text}");
        assert!(whole.status.success(), "{}", example.folder);
    } else {
        let said = String::from_utf8_lossy(&whole.stderr).into_owned();
        assert!(text.is_empty() && said.contains("nothing to resume"), "{text}{said}");
    }

    // One that is stopped while it is read: at its pace it would take minutes.
    let message = format!("{url}/api/messages/stopped");
    let model = place.script(example.model, &url, "stopped", "0.5").spawn().unwrap();
    eventually("the message", async || {
        reqwest::get(&message).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    let mut reader = place.script(example.reader, &url, "stopped", "").spawn().unwrap();
    let mut text = first_words(&mut reader).await;
    let stop = reqwest::Client::new().post(format!("{message}/stop")).send().await.unwrap();
    assert_eq!(stop.status(), 200);
    let rest = soon("the reader", reader.wait_with_output()).await.unwrap();
    text += std::str::from_utf8(&rest.stdout).unwrap();
    assert!(rest.status.success() && text.ends_with(example.stopped), "{text}");
    let output = soon("the model", model.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", example.folder);
}

async fn first_words(reader: &mut Child) -> String {
    let mut words = vec![0; FIRST_WORDS.len()];
    soon("words", reader.stdout.as_mut().unwrap().read_exact(&mut words)).await.unwrap();
    let words = String::from_utf8(words).unwrap();
    assert_eq!(words, FIRST_WORDS);
    words
}

/// Where an example is run: in a copy beside which the packages are that it imports.
struct Place(TempDir);

impl Place {
    fn of(example: &Example) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example.folder);
        for file in ["rejoin.toml", example.model, example.reader] {
            std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
        }
        let packages = script::directory().join("node_modules");
        std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn script(&self, file: &str, url: &str, id: &str, words_per_second: &str) -> Command {
        let script = self.path(file);
        let mut command = Command::new(script::interpreter(&script));
        command.arg(&script).arg(id).env("REJOIN_URL", url).env("NO_PROXY", "*");
        if !words_per_second.is_empty() {
            command.env("WORDS_PER_SECOND", words_per_second);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}
