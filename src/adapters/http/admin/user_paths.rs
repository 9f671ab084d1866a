//! The calls about one user, at two paths each: with the user's id in the path, as described, and
//! with it in the query.

use utoipa::openapi::{
    RefOr,
    path::{ParameterIn, PathItem},
};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::adapters::http::{Api, description::operations, inputs};

/// The same calls at both paths.
pub(super) fn in_path_or_query(
    (schemas, mut paths, handlers): UtoipaMethodRouter<Api>,
) -> UtoipaMethodRouter<Api> {
    let by_query = |(path, item): (&String, &_)| {
        (path.replacen("/users/{id}", "/user", 1), with_user_in_query(item))
    };
    let by_query: Vec<_> = paths.paths.iter().map(by_query).collect();
    paths.paths.extend(by_query);
    (schemas, paths, handlers)
}

/// The same operations, with the user's id in the query instead of the path.
fn with_user_in_query(by_path: &PathItem) -> PathItem {
    let mut by_query = by_path.clone();
    for operation in operations(&mut by_query) {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.retain(|parameter| !matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Path));
        parameters.insert(0, RefOr::T(inputs::user_in_query()));
        operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_by_query"));
    }
    by_query
}
