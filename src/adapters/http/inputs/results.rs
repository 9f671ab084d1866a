//! `results`: which results an upload is answered with.

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::choice::Choice;
use crate::adapters::http::{problem::Problem, problem_code::Code, upload_results::Wanted};

const RESULTS: Choice<Wanted> = Choice {
    name: "results",
    words: &[("all", Wanted::All), ("failures", Wanted::Failures)],
    refusal: Code::InvalidResults,
    about: "Which results an upload is answered with. `all` (the default): one for each line; the client has to read them while it sends, or the upload ends with `results_not_read`. `failures`: those of lines that failed, and a last line that sums up.",
};

/// What the query asks for; of repeated parameters the last counts.
pub(in crate::adapters::http) struct Results(pub(in crate::adapters::http) Wanted);

impl Results {
    fn of_query(query: &str) -> Result<Self, Problem> {
        let parameters = form_urlencoded::parse(query.as_bytes());
        let word = parameters.filter(|(name, _)| name == RESULTS.name).last().map(|(_, word)| word);
        Ok(Self(RESULTS.read(word.as_deref(), Wanted::default())?))
    }
}

impl<S: Sync> FromRequestParts<S> for Results {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of_query(parts.uri.query().unwrap_or_default())
    }
}

impl IntoParams for Results {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![RESULTS.parameter()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_results_is_known_or_refused() {
        let of = |query: &str| {
            Results::of_query(query).map(|Results(wanted)| wanted).map_err(|problem| problem.code)
        };
        assert_eq!(
            (of(""), of("results=all"), of("a=b&results=failures")),
            (Ok(Wanted::All), Ok(Wanted::All), Ok(Wanted::Failures))
        );
        for query in ["results=", "results=none", "results=Failures", "results=failures&results=x"]
        {
            assert_eq!(of(query), Err(Code::InvalidResults), "{query}");
        }
    }
}
