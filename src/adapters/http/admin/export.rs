//! `GET /api/admin/export`: all that the backends hold, as NDJSON.
//!
//! Invariant: the answer is written as it is taken: what is held of it is a page. What fails once
//! it has begun breaks it off, and its last line is missing then.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};

use super::{BACKEND_AWAY, private, view::ExportLineView};
use crate::{
    adapters::{
        export_lines::LineWriter,
        http::{Api, description, inputs::Caller, problem::Problem, problem_code::Code},
    },
    app::{administration::Export, archive::Record},
    domain::access::Operator,
};

/// Lines are sent together up to so many bytes, about.
const PIECE_BYTES: usize = 32 * 1024;

description::refusals! {
    /// Of an export.
    ExportRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BACKEND, &[Code::TooManyBacklogs]
}

/// All topics and messages, with their events: a backup, or what another backend imports with
/// `rejoin journal import`. The last line has `end`; an answer without it is not whole.
#[utoipa::path(
    get, path = "/api/admin/export", tag = "operate", operation_id = "export", security(("bearer" = ["admin"])),
    responses(
        (status = 200, description = "NDJSON: docs/operations/backups.md describes the lines.", content_type = "application/x-ndjson", body = ExportLineView),
        ExportRefusals,
    ),
)]
pub(super) async fn export(
    Caller(operator): Caller<Operator>,
    State(api): State<Api>,
) -> Result<Response, Problem> {
    let mut export = api.administration.export(&operator).await?;
    let mut first = Vec::new();
    // The first topic shows whether the backend answers.
    while first.len() < 2 {
        match export.next().await.map_err(|error| Problem::backend(&error, BACKEND_AWAY))? {
            Some(record) => first.push(record),
            None => break,
        }
    }
    let body = Body::from_stream(written(export, first));
    Ok(private(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()))
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn written(export: Export, first: Vec<Record>) -> impl Stream<Item = Result<Bytes, Failed>> {
    let begin = (export, LineWriter::default(), first);
    stream::try_unfold(begin, async |(mut export, mut writer, first)| {
        let mut piece = String::new();
        for record in &first {
            piece.push_str(&writer.line(record)?);
        }
        while piece.len() < PIECE_BYTES {
            let Some(record) = export.next().await? else { break };
            piece.push_str(&writer.line(&record)?);
        }
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), (export, writer, Vec::new()))))
    })
}
