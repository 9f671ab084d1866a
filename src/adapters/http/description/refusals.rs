//! What an operation may refuse, from the codes of `problem`.
//!
//! Invariant: the statuses, the codes of each, and their headers are derived from [`Code`]: none is
//! written down twice.

use std::collections::BTreeMap;

use utoipa::{
    PartialSchema, ToSchema as _,
    openapi::{
        AllOfBuilder, ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response,
        ResponseBuilder, Schema, Type,
    },
};

use crate::adapters::http::{problem::ProblemBody, problem_code::Code};

/// Missing or invalid credentials.
pub(in crate::adapters::http) const AUTHENTICATION: &[Code] =
    &[Code::MissingCredentials, Code::TokenExpired, Code::InvalidToken, Code::AuthUnavailable];
/// Who is asking may not.
pub(in crate::adapters::http) const AUTHORISATION: &[Code] = &[Code::Forbidden];
/// What holds one event, or opens a message.
pub(in crate::adapters::http) const BODY: &[Code] = &[
    Code::InvalidJson,
    Code::IncompleteBody,
    Code::RequestTimeout,
    Code::EventTooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedEncoding,
    Code::InvalidField,
    Code::InvalidEvent,
];
/// The backend is away.
pub(in crate::adapters::http) const BACKEND: &[Code] =
    &[Code::TopicDamaged, Code::BackendUnavailable];
/// What any operation may come to.
pub(super) const INTERNAL: &[Code] = &[Code::InternalError];

/// Names a set of refusals, for the `responses` of an operation.
macro_rules! refusals {
    ($(#[$docs:meta])* $name:ident = $($codes:expr),+) => {
        $(#[$docs])*
        enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
                $crate::adapters::http::description::responses(&[$($codes),+])
            }
        }
    };
}
pub(in crate::adapters::http) use refusals;

/// The answers that refuse with one of these codes.
pub(in crate::adapters::http) fn responses(sets: &[&[Code]]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in sets.iter().copied().flatten() {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), RefOr::T(response(status, &codes))))
        .collect()
}

fn response(status: u16, codes: &[Code]) -> Response {
    let meanings: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let names = codes.iter().map(|code| code.as_str());
    let code: Schema =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into();
    let these = ObjectBuilder::new().property("code", code);
    let schema = AllOfBuilder::new().item(Ref::from_schema_name(ProblemBody::name())).item(these);
    let mut response = ResponseBuilder::new().description(meanings.join(" ")).content(
        "application/json",
        ContentBuilder::new().schema(Some(Schema::from(schema))).build(),
    );
    for (name, schema, description) in headers(status) {
        response = response.header(
            name,
            HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build(),
        );
    }
    response.build()
}

fn headers(status: u16) -> Vec<(&'static str, RefOr<Schema>, &'static str)> {
    match status {
        401 => vec![(
            "WWW-Authenticate",
            String::schema(),
            "`Bearer`, with `error=\"invalid_token\"` where a token was sent.",
        )],
        429 | 503 => {
            vec![("Retry-After", u32::schema(), "Seconds after which another try may succeed.")]
        }
        _ => Vec::new(),
    }
}
