//! `POST /api/events`: one event, or a stream of them.

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::{Api, credentials, ndjson, problem::Problem, publication};
use crate::{
    app::publishing::Published,
    domain::position::EventId,
    ports::journal::{Appended, IdempotencyKey},
};

/// What a publisher is told of an event that was taken.
#[derive(Serialize)]
pub(super) struct Receipt {
    success: bool,
    #[serde(flatten)]
    ids: ReceiptIds,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ReceiptIds {
    Id(Option<String>),
    Ids(Vec<String>),
}

impl Receipt {
    pub(super) fn of(published: &Published) -> (StatusCode, Self) {
        let text = |appended: &Appended| EventId::to_string(&appended.id);
        let (ids, duplicate) = match published {
            Published::One(appended) => (ReceiptIds::Id(Some(text(appended))), appended.duplicate),
            Published::Each(each) => (ReceiptIds::Ids(each.iter().map(text).collect()), each.iter().all(|appended| appended.duplicate)),
            Published::Broadcast | Published::Discarded => (ReceiptIds::Id(None), false),
        };
        let status = match published {
            Published::Discarded => StatusCode::ACCEPTED,
            _ if duplicate => StatusCode::OK,
            _ => StatusCode::CREATED,
        };
        (status, Self { success: true, ids, duplicate })
    }
}

pub(super) async fn publish(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let principal = api.authenticator.authenticate(credentials::bearer(request.headers())).await?;
    api.publisher.authorise(&principal)?;
    let idempotency_key = idempotency_key(request.headers())?;
    match media_type(request.headers()) {
        MediaType::Json => publish_one(&api, request.into_body(), idempotency_key).await,
        MediaType::Ndjson => Ok(ndjson::publish_lines(api, request.into_body(), idempotency_key)),
        MediaType::Other => Err(Problem::unsupported_media_type()),
    }
}

async fn publish_one(api: &Api, body: Body, idempotency_key: Option<IdempotencyKey>) -> Result<Response, Problem> {
    let bytes_max = api.options.body_bytes_max;
    let arrival = tokio::time::timeout(api.options.request_timeout, Limited::new(body, bytes_max).collect());
    let body = arrival.await.map_err(|_| Problem::request_timeout())?.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::too_large(bytes_max)
        } else {
            Problem::bad_request("incomplete_body", "the body broke off: send it again")
        }
    })?;
    let publication = publication::parse(&body.to_bytes(), idempotency_key, api.options.recipients_max, api.publisher.registry())?;
    let (status, receipt) = Receipt::of(&api.publisher.publish(publication).await?);
    Ok((status, Json(receipt)).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| IdempotencyKey::parse(text).ok());
    parsed
        .map(Some)
        .ok_or_else(|| Problem::bad_request("invalid_idempotency_key", "`Idempotency-Key` has 1 to 256 visible ASCII characters"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Json,
    Ndjson,
    Other,
}

/// A type has to be named: a browser sends `text/plain` and forms across sites without asking, but neither of these.
fn media_type(headers: &HeaderMap) -> MediaType {
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    match essence.map(|essence| essence.trim().to_ascii_lowercase()).as_deref() {
        Some("application/json") => MediaType::Json,
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => MediaType::Ndjson,
        _ => MediaType::Other,
    }
}
