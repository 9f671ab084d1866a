//! `POST /api/events`: one event, or a stream of them.

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};

use super::{
    Api, description,
    inputs::{Caller, Idempotency, Results},
    ndjson::{self, PublishLines},
    problem::Problem,
    problem_code::Code,
    publication,
    receipt::Receipt,
    request_body::{self, MediaType},
    upload::{self, Upload},
};
use crate::domain::{access::EventPublisher, idempotency_key::IdempotencyKey};

description::refusals! {
    /// Of a publish.
    PublishRefusals = description::AUTHENTICATION, description::AUTHORISATION, description::BODY, description::BACKEND,
        &[Code::InvalidIdempotencyKey, Code::InvalidResults, Code::BroadcastsFull]
}

/// Publish an event, or a stream of them.
///
/// With `application/x-ndjson` the body is a stream of events, one a line, and the answer a stream
/// of results, one for each, as they come. A line that is refused leaves the others alone; when the
/// backend fails, the answer ends with that. A client that sends everything before it reads sends
/// `results=failures`.
#[utoipa::path(
    post, path = "/api/events", tag = "user events", operation_id = "publish", params(Idempotency, Results),
    security(("bearer" = ["events:publish"])),
    request_body(description = "An event, or one a line.", content(
        (publication::Fields = "application/json"), (publication::Fields = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "A repeat: the first id. Or the results of an upload.", content(
            (Receipt = "application/json"), (ndjson::PublishLine = "application/x-ndjson"),
        )),
        (status = 201, description = "Published.", body = Receipt),
        (status = 202, description = "Pushing is switched off (`sse.push_enabled`): nothing was stored.", body = Receipt),
        PublishRefusals,
    ),
)]
pub(super) async fn publish(
    Caller(publisher): Caller<EventPublisher>,
    State(api): State<Api>,
    Idempotency(idempotency_key): Idempotency,
    Results(wanted): Results,
    request: Request,
) -> Result<Response, Problem> {
    match request_body::media_type(request.headers())? {
        MediaType::Json => {
            publish_one(&api, &publisher, request.into_body(), idempotency_key).await
        }
        MediaType::Ndjson => {
            let upload = Upload {
                body: request.into_body(),
                wanted,
                expires_at: api.publisher.expiry(&publisher),
            };
            Ok(upload::answer(
                &api,
                upload,
                PublishLines { api: api.clone(), publisher, idempotency_key },
            ))
        }
    }
}

/// The same as `POST /api/events`.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "user events", operation_id = "publish_v1", params(Idempotency, Results),
    security(("bearer" = ["events:publish"])),
    request_body(description = "An event, or one a line.", content(
        (publication::Fields = "application/json"), (publication::Fields = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "A repeat: the first id. Or the results of an upload.", content(
            (Receipt = "application/json"), (ndjson::PublishLine = "application/x-ndjson"),
        )),
        (status = 201, description = "Published.", body = Receipt),
        (status = 202, description = "Pushing is switched off (`sse.push_enabled`): nothing was stored.", body = Receipt),
        PublishRefusals,
    ),
)]
pub(super) async fn publish_v1(
    caller: Caller<EventPublisher>,
    state: State<Api>,
    idempotency: Idempotency,
    results: Results,
    request: Request,
) -> Result<Response, Problem> {
    publish(caller, state, idempotency, results, request).await
}

async fn publish_one(
    api: &Api,
    publisher: &EventPublisher,
    body: Body,
    idempotency_key: Option<IdempotencyKey>,
) -> Result<Response, Problem> {
    let body = request_body::whole(&api.options, body).await?;
    let publication = publication::parse(
        &body,
        idempotency_key,
        api.options.recipients_max,
        api.publisher.registry(),
    )?;
    let (status, receipt) = Receipt::of(&api.publisher.publish(publisher, publication).await?);
    Ok((status, Json(receipt)).into_response())
}
