//! What a proven token claims, and who that makes its holder.
//!
//! Invariant: a claim that is there has the right type, or the token is refused: a limit that can't
//! be read must not turn into no limit. Claims and scopes that mean nothing here are other
//! programs' business.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use crate::{
    domain::{
        access::{Principal, Scope},
        category::Category,
        timestamp::{Timestamp, millis},
        topic::UserId,
    },
    ports::authenticator::AuthError,
};

/// The claims that are looked at. `None` is a claim that is missing; one that is `null` is there.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Claims {
    #[serde(default, deserialize_with = "present")]
    iss: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    sub: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    scope: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    categories: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What claims are held against.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) leeway: Duration,
    /// Whether a token must end.
    pub(super) require_exp: bool,
}

impl ClaimRules {
    /// Who the holder is, now.
    pub(super) fn judge(&self, claims: &Claims, now: Timestamp) -> Result<Principal, AuthError> {
        self.judge_origin(claims)?;
        let leeway_ms = millis(self.leeway);
        if time_ms(claims.nbf.as_ref(), "nbf")?
            .is_some_and(|begin| now.as_ms().saturating_add(leeway_ms) < begin)
        {
            return Err(invalid("it is not valid yet (its `nbf`)"));
        }
        let exp = time_ms(claims.exp.as_ref(), "exp")?;
        if self.require_exp && exp.is_none() {
            return Err(invalid(
                "it never ends: `exp` must be there, unless the server has auth.jwt.require_exp = false",
            ));
        }
        // With the leeway, so that a connection is closed at the moment from which a new one would
        // be refused. A connection that is accepted and closed at once would come back for ever.
        let end = exp.map(|exp| exp.saturating_add(leeway_ms));
        let principal = Principal {
            user: user(claims.sub.as_ref())?,
            scopes: scopes(claims.scope.as_ref())?,
            categories: claims.categories.as_ref().map(categories).transpose()?,
            expires_at: end.map(Timestamp::from_ms),
        };
        // Last, because "get a new one" is the wrong advice for a token that was never right.
        if end.is_some_and(|end| now.as_ms() >= end) {
            Err(AuthError::Expired)
        } else {
            Ok(principal)
        }
    }

    fn judge_origin(&self, claims: &Claims) -> Result<(), AuthError> {
        if let Some(issuer) = &self.issuer
            && claims.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err(invalid("it is not from the configured issuer (its `iss`)"));
        }
        if let Some(audience) = &self.audience
            && !claims
                .aud
                .as_ref()
                .and_then(texts)
                .is_some_and(|all| all.contains(&audience.as_str()))
        {
            return Err(invalid("it is not meant for this service (its `aud`)"));
        }
        Ok(())
    }
}

/// An `AuthError` with the reason.
pub(super) fn invalid(reason: &str) -> AuthError {
    AuthError::Invalid(reason.to_owned())
}

fn user(sub: Option<&Value>) -> Result<Option<UserId>, AuthError> {
    let Some(sub) = sub else { return Ok(None) };
    let text = sub.as_str().ok_or_else(|| invalid("its `sub` is not a string"))?;
    UserId::parse(text)
        .map(Some)
        .map_err(|error| AuthError::Invalid(format!("its `sub` is no user id: {error}")))
}

/// `scope` as RFC 8693 has it, a text with spaces; or an array of texts, as several issuers make
/// it.
fn scopes(scope: Option<&Value>) -> Result<BTreeSet<Scope>, AuthError> {
    let names = match scope {
        None => Vec::new(),
        Some(Value::String(text)) => text.split(' ').collect(),
        Some(list) => texts(list)
            .ok_or_else(|| invalid("its `scope` is neither a string nor an array of strings"))?,
    };
    Ok(names.into_iter().filter_map(Scope::find).collect())
}

fn categories(list: &Value) -> Result<BTreeSet<Category>, AuthError> {
    let malformed = || invalid("its `categories` are not an array of category names");
    let names = list.as_array().and_then(|_| texts(list)).ok_or_else(malformed)?;
    names.into_iter().map(|name| Category::parse(name).map_err(|_| malformed())).collect()
}

/// A text, or an array of nothing but texts.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn time_ms(claim: Option<&Value>, name: &str) -> Result<Option<u64>, AuthError> {
    match claim {
        None => Ok(None),
        Some(Value::Number(seconds)) => Ok(Some(since_epoch_ms(seconds))),
        Some(_) => Err(AuthError::Invalid(format!("its `{name}` is not a number"))),
    }
}

/// RFC 7519's `NumericDate`: seconds, with or without a fraction. What lies before 1970 is its
/// beginning; what lies beyond the range is its end.
fn since_epoch_ms(seconds: &Number) -> u64 {
    if let Some(whole) = seconds.as_u64() {
        return whole.saturating_mul(1000);
    }
    match seconds.as_f64() {
        Some(negative) if negative < 0.0 => 0,
        // To the nearest millisecond: a fraction such as .001 has no exact binary form and may lie
        // just below.
        Some(fractional) => Duration::try_from_secs_f64(fractional)
            .map_or(u64::MAX, |since| millis(since.saturating_add(Duration::from_micros(500)))),
        None => 0,
    }
}

#[cfg(test)]
mod tests;
