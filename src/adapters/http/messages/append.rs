//! `POST /api/messages/{id}/events`: one event, or a stream of them.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    draft,
    lines::{self, AppendLines},
    receipt::AppendReceipt,
};
use crate::{
    adapters::http::{
        Api, description,
        inputs::{Caller, Idempotency, MessagePath, ProducerEpoch, Results},
        problem::Problem,
        problem_code::Code,
        request_body::{self, MediaType},
        upload::{self, Upload},
    },
    app::producing::ProduceError,
    domain::{access::MessageProducer, message::AppendRefusal},
};

description::refusals! {
    /// Of an append.
    AppendRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BODY, description::BACKEND, &[
        Code::InvalidMessageId,
        Code::InvalidProducerEpoch,
        Code::InvalidIdempotencyKey,
        Code::InvalidResults,
        Code::MessageNotFound,
        Code::MessageComplete,
        Code::ProducerFenced,
        Code::SequenceConflict,
        Code::SequenceGap,
        Code::MessageTooLarge,
    ]
}

/// Append an event to a message, or a stream of them.
///
/// With `application/x-ndjson` the body is a stream of events, one a line, each visible to readers
/// at once, and the answer a stream of results, one for each. The first line that is refused ends
/// it. When the reader wants no more, a line of `{"success": true, "stop": true}` comes between the
/// results. A client that sends everything before it reads sends `results=failures`.
#[utoipa::path(
    post, path = "/api/messages/{id}/events", tag = "message events", operation_id = "append", 
    params(MessagePath, ProducerEpoch, Idempotency, Results),
    security(("bearer" = ["messages:publish"])),
    request_body(description = "An event, or one a line.", content(
        (draft::DraftFields = "application/json"), (draft::DraftFields = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "A repeat: it had been appended before. Or the results of an upload.", content(
            (AppendReceipt = "application/json"), (lines::AppendLine = "application/x-ndjson"),
        )),
        (status = 201, description = "Appended.", body = AppendReceipt),
        AppendRefusals,
    ),
)]
pub(super) async fn append(
    Caller(producer): Caller<MessageProducer>,
    State(api): State<Api>,
    MessagePath(id): MessagePath,
    ProducerEpoch(epoch): ProducerEpoch,
    Idempotency(idempotency_key): Idempotency,
    Results(wanted): Results,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    match request_body::media_type(&parts.headers)? {
        MediaType::Json => {
            let draft =
                draft::draft(&request_body::whole(&api.options, body).await?, idempotency_key)?;
            let mut answers = api
                .producing
                .append(&producer, &id, epoch, vec![draft])
                .await
                .map_err(ProduceError::Backend)?;
            let appended = answers
                .pop()
                .unwrap_or(Err(AppendRefusal::Unknown))
                .map_err(ProduceError::Append)?;
            let status = if appended.duplicate { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, Json(AppendReceipt::from(appended))).into_response())
        }
        MediaType::Ndjson => {
            let upload = Upload { body, wanted, expires_at: api.producing.expiry(&producer) };
            Ok(upload::answer(
                &api,
                upload,
                AppendLines::new(api.clone(), producer, id, epoch, idempotency_key),
            ))
        }
    }
}
