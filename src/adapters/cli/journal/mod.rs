//! `rejoin journal`: what the backends hold, as a whole.

mod progress;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, Subcommand};
use tokio::{
    fs::File,
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
};

use self::progress::Progress;
use super::{log, output, printable::tell};
use crate::{
    adapters::{
        config::{Backend, LogSettings, Settings},
        export_lines::{LineReader, LineWriter},
    },
    app::archive::{Exporter, Imported, Importer, Problem, Record, Tally, Verifier},
    composition::archives::OpenArchives,
    ports::archive::Compacted,
};

/// Options.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  rejoin journal export --config old.toml > backup.ndjson    all that there is, into a file
  rejoin journal import --config new.toml < backup.ndjson    and into another backend
  rejoin journal verify                                      whether all of it can be read

It works on the backends that the settings name, also while servers use them. The store on disk belongs to one process: stop the
server first, or have it export by itself, with GET /api/admin/export.")]
pub(super) struct JournalOptions {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum JournalCommand {
    /// Count what there is.
    Stats {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Read all that there is, and look whether anything is missing or damaged.
    Verify,
    /// Write all that there is as NDJSON.
    Export {
        /// The file to write to; standard output without one.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take over what was exported. What is there already is never changed.
    Import {
        /// The file to read from; standard input without one.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Remove what is over its time now, and give back the room that it took.
    Compact,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum JournalError {
    #[error(
        "{0} is \"memory\", which only the server's own process can see: have the server export it, with GET /api/admin/export, and \
         import that into another backend"
    )]
    Memory(&'static str),
    #[error("{file} can't be opened")]
    File {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("line {number}: {source}")]
    Line {
        number: u64,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Does it.
pub(super) async fn journal(
    options: &JournalOptions,
    settings: &Settings,
) -> Result<ExitCode, Box<dyn Error>> {
    for (key, backend) in [
        ("events.backend", settings.events.backend),
        ("messages.backend", settings.messages.backend),
    ] {
        if backend == Backend::Memory {
            return Err(JournalError::Memory(key).into());
        }
    }
    log::start(&LogSettings { level: "warn".to_owned(), ..settings.log.clone() }, None)?;
    let open = OpenArchives::open(settings).await?;
    match &options.command {
        JournalCommand::Stats { json } => stats(&open, *json).await,
        JournalCommand::Verify => verify(&open).await,
        JournalCommand::Export { output } => export(&open, output.as_deref()).await,
        JournalCommand::Import { file } => import(&open, settings, file.as_deref()).await,
        JournalCommand::Compact => compact(&open, settings).await,
    }
}

async fn stats(open: &OpenArchives, json: bool) -> Result<ExitCode, Box<dyn Error>> {
    let mut exporter = Exporter::new(open.archives.clone(), open.clock.now());
    let mut progress = Progress::begin("counted");
    while exporter.next().await?.is_some() {
        progress.at(exporter.tally());
    }
    let tally = exporter.tally();
    let mut figures = vec![
        ("topics", tally.topics),
        ("entries", tally.entries),
        ("messages", tally.messages),
        ("message_events", tally.message_events),
        ("event_bytes", tally.event_bytes),
        ("unreadable", tally.unreadable),
    ];
    figures.extend(open.archives.of_events.figures().await?);
    for (name, figure) in open.archives.of_messages.figures().await? {
        if !figures.iter().any(|(known, _)| *known == name) {
            figures.push((name, figure));
        }
    }
    let text = if json {
        let object: serde_json::Map<_, _> =
            figures.iter().map(|(name, figure)| ((*name).to_owned(), (*figure).into())).collect();
        format!("{}\n", serde_json::Value::Object(object))
    } else {
        lines(figures.iter().map(|(name, figure)| format!("{name:<18} {figure}")))
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn verify(open: &OpenArchives) -> Result<ExitCode, Box<dyn Error>> {
    let mut verifier = Verifier::new(open.archives.clone(), open.clock.now());
    let mut progress = Progress::begin("looked at");
    let mut problems = Vec::new();
    while let Some(problem) = verifier.next(|tally| progress.at(tally)).await? {
        problems.push(problem);
    }
    problems.extend(verifier.of_backends().await?);
    let shown = |problem: &Problem| {
        let place =
            problem.topic.as_ref().map_or_else(|| "the store".to_owned(), ToString::to_string);
        format!("{place}: {}", problem.what)
    };
    let Tally { topics, entries, messages, message_events, .. } = verifier.tally();
    let found = if problems.is_empty() {
        "all whole".to_owned()
    } else {
        format!("{} problems", problems.len())
    };
    let summary = format!(
        "{topics} topics with {entries} entries, {messages} messages with {message_events} events: {found}"
    );
    output::print(&lines(problems.iter().map(shown).chain([summary])))?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn export(open: &OpenArchives, file: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let output: Box<dyn AsyncWrite + Send + Unpin> = match file {
        None => Box::new(tokio::io::stdout()),
        Some(path) => Box::new(File::create(path).await.map_err(|source| of_file(path, source))?),
    };
    let mut output = BufWriter::with_capacity(64 * 1024, output);
    let mut exporter = Exporter::new(open.archives.clone(), open.clock.now());
    let (mut writer, mut progress) = (LineWriter::default(), Progress::begin("exported"));
    while let Some(record) = exporter.next().await? {
        if let Record::Unreadable { topic, why } = &record {
            tell(&format!("{topic} can't be exported: {why}"));
        }
        output.write_all(writer.line(&record)?.as_bytes()).await?;
        progress.at(exporter.tally());
    }
    output.flush().await?;
    progress.end(exporter.tally());
    Ok(if exporter.tally().unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_file(path: &Path, source: std::io::Error) -> JournalError {
    JournalError::File { file: path.display().to_string(), source }
}

async fn import(
    open: &OpenArchives,
    settings: &Settings,
    file: Option<&Path>,
) -> Result<ExitCode, Box<dyn Error>> {
    let input: Box<dyn AsyncBufRead + Send + Unpin> = match file {
        None => Box::new(BufReader::new(tokio::io::stdin())),
        Some(path) => Box::new(BufReader::new(
            File::open(path).await.map_err(|source| of_file(path, source))?,
        )),
    };
    let mut reader = LineReader::new(Arc::new(settings.categories.clone()));
    let (mut importing, mut progress) =
        (Importer::new(open.archives.clone()), Progress::begin("imported"));
    let (mut input, mut number) = (input.lines(), 0);
    while let Some(line) = input.next_line().await? {
        number += 1;
        let at = |source: Box<dyn Error + Send + Sync>| JournalError::Line { number, source };
        let Some(record) = reader.record(&line).map_err(|error| at(error.into()))? else {
            continue;
        };
        importing.take(record).await.map_err(|error| at(error.into()))?;
        progress.at(importing.tally());
    }
    let tally = importing.tally();
    let outcome = importing.finish().await?;
    progress.end(tally);
    output::print(&report(&outcome))?;
    if !outcome.is_whole {
        tell("the export ends before its last line: it was cut short. What it held was imported");
    }
    let is_all = outcome.is_whole && outcome.topics_left == 0 && outcome.messages_left == 0;
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(imported: &Imported) -> String {
    let Imported { topics_kept, topics_renumbered, topics_left, messages, messages_left, .. } =
        *imported;
    let counts = [
        (topics_kept, "topics with their ids: clients go on where they were"),
        (
            topics_renumbered,
            "topics with new ids, since this backend numbers events itself: clients are notified that they may have missed some",
        ),
        (topics_left, "topics were left as they are, since they have other entries here"),
        (messages, "messages with their numbers: readers go on where they were"),
        (messages_left, "messages were left as they are, since they have other events here"),
    ];
    let text = lines(
        counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}")),
    );
    if text.is_empty() { "nothing was imported: the export is empty\n".to_owned() } else { text }
}

/// Lines as a text.
fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect()
}

async fn compact(open: &OpenArchives, settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    open.sweep().await?;
    let (mut told, mut done) = (Vec::new(), Vec::new());
    let parts = [
        (settings.events.backend, &open.archives.of_events),
        (settings.messages.backend, &open.archives.of_messages),
    ];
    for (backend, archive) in parts {
        if done.contains(&backend) {
            continue;
        }
        done.push(backend);
        let name = backend.name();
        told.push(match archive.compact().await? {
            Some(Compacted { bytes_before, bytes_after }) => format!("{name}: {bytes_before} bytes before, {bytes_after} bytes now"),
            None => format!("{name}: what is over its time was removed; the server gives its room back by itself"),
        });
    }
    output::print(&lines(told))?;
    Ok(ExitCode::SUCCESS)
}
