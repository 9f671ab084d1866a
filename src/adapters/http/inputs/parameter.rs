//! How an input is described.

use utoipa::openapi::{
    ObjectBuilder, RefOr, Required, Schema, Type,
    path::{Parameter, ParameterBuilder, ParameterIn},
};

/// A header, which need not be there.
pub(in crate::adapters::http) fn header(
    name: &str,
    schema: impl Into<RefOr<Schema>>,
    description: &str,
) -> Parameter {
    parameter(ParameterIn::Header, name, schema, description).build()
}

/// A parameter of the query, which need not be there.
pub(super) fn query(name: &str, schema: impl Into<RefOr<Schema>>, description: &str) -> Parameter {
    parameter(ParameterIn::Query, name, schema, description).build()
}

/// A part of the path.
pub(super) fn path(name: &str, schema: impl Into<RefOr<Schema>>, description: &str) -> Parameter {
    parameter(ParameterIn::Path, name, schema, description).required(Required::True).build()
}

/// Any of them.
pub(super) fn parameter(
    place: ParameterIn,
    name: &str,
    schema: impl Into<RefOr<Schema>>,
    description: &str,
) -> ParameterBuilder {
    let parameter =
        ParameterBuilder::new().name(name).parameter_in(place).required(Required::False);
    parameter.schema(Some(schema)).description(Some(description))
}

/// A text, as a schema.
pub(super) fn text_schema(configure: impl FnOnce(ObjectBuilder) -> ObjectBuilder) -> RefOr<Schema> {
    configure(ObjectBuilder::new().schema_type(Type::String)).into()
}
