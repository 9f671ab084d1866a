//! `rejoin serve`: from start to a clean stop.

use std::{error::Error, io::Write, process::ExitCode};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::log;
use crate::{
    adapters::{
        config::{AuthMode, Backend, Loaded, Secret, Settings, TelemetrySettings},
        traces::{Traces, TracesError, TracesOptions},
    },
    composition::Server,
};

/// Options.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct ServeOptions {
    /// Keep in memory what would be kept on disk: nothing is left behind.
    #[arg(long)]
    memory: bool,
}

/// Serves until SIGTERM or SIGINT, or until a background task fails, then drains. A second signal
/// ends it at once. It succeeds only after a signal, and a drain that was over in time.
pub(super) async fn serve(
    options: ServeOptions,
    loaded: Loaded,
) -> Result<ExitCode, Box<dyn Error>> {
    let Loaded { mut settings, warnings, .. } = loaded;
    if options.memory {
        settings.keep_in_memory();
    }
    let settings = &settings;
    let traces = start_traces(&settings.telemetry)?;
    log::start(&settings.log, traces.as_ref())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    allow_many_connections(settings.server.max_connections);
    let server = Server::start(settings).await?;
    welcome(settings, &server);
    let has_failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = server.failed() => true,
    };
    tracing::info!(
        connections = server.connections(),
        seconds = settings.server.drain.as_secs(),
        "draining"
    );
    // Nothing where a second signal did not wait for it.
    let cut_off = tokio::select! {
        cut_off = server.drain() => Some(cut_off),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    if let Some(traces) = traces {
        traces.finish().await;
    }
    let end = report_end(cut_off);
    Ok(if has_failed { ExitCode::FAILURE } else { end })
}

fn report_end(cut_off: Option<usize>) -> ExitCode {
    match cut_off {
        Some(0) => {
            tracing::info!("stopped");
            return ExitCode::SUCCESS;
        }
        Some(cut_off) => {
            tracing::error!(
                cut_off,
                "stopped late: streams or requests were not over in server.drain_seconds, and were cut off"
            );
        }
        None => tracing::error!("stopped by a second signal, before the drain was over"),
    }
    ExitCode::FAILURE
}

fn start_traces(telemetry: &TelemetrySettings) -> Result<Option<Traces>, TracesError> {
    let options = |collector: &Secret| TracesOptions {
        collector: collector.reveal().to_owned(),
        service_name: telemetry.service_name.clone(),
        sample_ratio: telemetry.sample_ratio,
    };
    telemetry.otlp_endpoint.as_ref().map(options).map(Traces::start).transpose()
}

/// Each connection takes a file descriptor, and the usual limit is far below what one process can
/// serve.
fn allow_many_connections(connections_max: Option<usize>) {
    /// For listeners, backends and the log.
    const OTHER_FILES: u64 = 64;
    let files_max = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files_max) => files_max,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised: it bounds the number of connections");
            return;
        }
    };
    let Some(connections_max) = connections_max.and_then(|max| u64::try_from(max).ok()) else {
        return;
    };
    if files_max < connections_max.saturating_add(OTHER_FILES) {
        tracing::warn!(
            files_max,
            connections_max,
            "the limit of open files is below server.max_connections: when it is reached, new clients wait instead of getting 503. \
             Raise it (`ulimit -Hn`, systemd's LimitNOFILE), or lower server.max_connections"
        );
    }
}

/// Says where it listens and what to try next.
fn welcome(settings: &Settings, server: &Server) {
    let address = server.address();
    let kept = match settings.events.backend {
        Backend::Disk => format!("on disk, in {}", settings.disk.path.display()),
        other => format!("in {}", other.name()),
    };
    let mut lines = vec![format!("Rejoin listens on http://{address}, events are kept {kept}.")];
    match settings.auth.mode {
        AuthMode::None => {
            tracing::warn!(
                "auth.mode is `none`: everybody is user `local` and may publish; set auth.mode = \"jwt\" for anything but development"
            );
            lines.push(format!("Follow:   rejoin tail --url http://{address}"));
            lines.push(format!("     or   curl -N http://{address}/api/events"));
            lines.push(format!(
                "Publish:  rejoin publish --url http://{address} --user local --type greeting --payload '{{\"text\": \"hello\"}}'"
            ));
        }
        AuthMode::Jwt => {
            lines.push(format!(
                "Follow:   rejoin tail --url http://{address} --token <token>   (`rejoin token` makes tokens for development)"
            ));
        }
    }
    // Whoever closed our standard output doesn't want to know; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
}
