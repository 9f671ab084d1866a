//! What the API looks like, for programs: `GET /openapi.json`, OpenAPI 3.1.
//!
//! Invariant: it says what is routed, no more and no less. A handler and its description are
//! registered together, by `routes!`, and no route is added by any other way; what an operation may
//! refuse is described by the codes that `problem` uses. `docs/openapi.json` is a snapshot of it,
//! which a test compares.

mod recipients;
mod refusals;
mod streams;

use axum::{
    Extension,
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, HeaderBuilder, Info, License, OpenApi, OpenApiBuilder, RefOr,
        Response as ResponseDescription,
        path::{Operation, Parameter, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};

pub(super) use self::{
    recipients::TestEvent,
    refusals::{AUTHENTICATION, AUTHORISATION, BACKEND, BODY, refusals, responses},
    streams::{EVENT_STREAM, EVENT_STREAM_EXAMPLE, Event, MESSAGE_STREAM, MESSAGE_STREAM_EXAMPLE},
};

use super::{inputs::header as header_parameter, problem::ProblemBody};

/// The description, written out.
#[derive(Clone)]
pub(super) struct Document(Bytes);

/// This description of the API.
///
/// It says what is routed on the listener that is asked: where `server.ops_listen` is set,
/// operators' calls are described on their own.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operate", operation_id = "openapi", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)),
)]
pub(super) async fn openapi(Extension(Document(text)): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The description before anything is routed.
pub(super) fn blank() -> OpenApi {
    let license =
        License::builder().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = Info::builder()
        .title("Rejoin")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(include_str!("introduction.md")))
        .license(Some(license))
        .build();
    let tag =
        |name, description| TagBuilder::new().name(name).description(Some(description)).build();
    OpenApiBuilder::new()
        .info(info)
        .tags(Some([
            tag("user events", "One stream per user: notifications, progress, security alerts."),
            tag(
                "message events",
                "One stream per message: the chunks of one answer, ending in a terminal event.",
            ),
            tag("operate", "Health, numbers, and what an operator can see and do."),
        ]))
        .components(Some(components()))
        .build()
}

fn components() -> Components {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "A JWT, or a publisher's static key. Not needed where `auth.mode` is `none`.",
        ))
        .build();
    let cookie = "The token of a subscribe request, in the cookie that `auth.cookie` names; none does by default.";
    let query = "The token of a subscribe request, where `auth.query_token` allows it.";
    let mut components = Components::new();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme(
        "cookie",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            "auth.cookie",
            cookie,
        ))),
    );
    components.add_security_scheme(
        "access_token",
        SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description("access_token", query))),
    );
    // What stands in streams: no operation's body is of these types alone.
    describe::<streams::ControlEvent>(&mut components);
    describe::<streams::NamedTruncation>(&mut components);
    describe::<streams::NamedRefusal>(&mut components);
    describe::<streams::MessageEvent>(&mut components);
    describe::<streams::ProducerStale>(&mut components);
    describe::<ProblemBody>(&mut components);
    components
}

fn describe<T: ToSchema + PartialSchema>(components: &mut Components) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

/// The description of what was routed, as it is served.
pub(super) fn document(openapi: OpenApi) -> Document {
    // Maps of text and numbers always serialise.
    Document(serde_json::to_vec(&whole(openapi)).unwrap_or_default().into())
}

/// The same for people.
pub(super) fn text(openapi: OpenApi) -> String {
    let mut text = serde_json::to_string_pretty(&whole(openapi)).unwrap_or_default();
    text.push('\n');
    text
}

/// Adds what all operations have in common.
fn whole(mut openapi: OpenApi) -> OpenApi {
    for operation in openapi.paths.paths.values_mut().flat_map(operations) {
        operation.parameters.get_or_insert_default().push(RefOr::T(request_id()));
        let responses = &mut operation.responses.responses;
        responses.extend(refusals::responses(&[refusals::INTERNAL]));
        for response in responses.values_mut() {
            if let RefOr::T(response) = response {
                add_request_id(response);
            }
        }
    }
    recipients::require_one(&mut openapi);
    openapi
}

/// What a path has.
pub(super) fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.delete].into_iter().flatten()
}

/// The id that every request may bring along.
fn request_id() -> Parameter {
    let about = "An id for the request, which its answer and the log's line about it carry: 1 to 128 visible ASCII characters. Another is replaced.";
    header_parameter("X-Request-Id", String::schema(), about)
}

fn add_request_id(response: &mut ResponseDescription) {
    let id = HeaderBuilder::new()
        .schema(Some(String::schema()))
        .description(Some("The id of the request: its own, or one made for it."));
    response.headers.insert("X-Request-Id".to_owned(), RefOr::T(id.build()));
}
