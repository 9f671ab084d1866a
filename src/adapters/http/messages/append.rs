//! `POST /api/messages/{id}/events`: one event, or a stream of them.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{IdPath, draft, epoch, lines, message_id, producer};
use crate::{
    adapters::http::{
        Api,
        problem::Problem,
        request_body::{self, MediaType},
    },
    app::producing::ProduceError,
    domain::message::AppendRefusal,
    ports::messages::MessageAppended,
};

/// What a producer is told of an event that was taken.
#[derive(Serialize)]
pub(super) struct AppendReceipt {
    success: bool,
    sequence_no: u64,
    /// Whether the reader wants no more.
    stop: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl From<MessageAppended> for AppendReceipt {
    fn from(MessageAppended { sequence_no, duplicate, stop_requested }: MessageAppended) -> Self {
        Self { success: true, sequence_no, stop: stop_requested, duplicate }
    }
}

pub(super) async fn append(State(api): State<Api>, path: IdPath, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    producer(&api, &parts.headers).await?;
    let (id, epoch) = (message_id(path)?, epoch(&parts.headers)?);
    let idempotency_key = request_body::idempotency_key(&parts.headers)?;
    match request_body::media_type(&parts.headers) {
        MediaType::Json => {
            let draft = draft::draft(&request_body::whole(&api.options, body).await?, idempotency_key)?;
            let mut answers = api.producing.append(id, epoch, vec![draft]).await.map_err(ProduceError::Backend)?;
            let appended = answers.pop().unwrap_or(Err(AppendRefusal::Unknown)).map_err(ProduceError::Append)?;
            let status = if appended.duplicate { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, Json(AppendReceipt::from(appended))).into_response())
        }
        MediaType::Ndjson => Ok(lines::append_lines(api, body, id, epoch, idempotency_key)),
        MediaType::Other => Err(Problem::unsupported_media_type()),
    }
}
