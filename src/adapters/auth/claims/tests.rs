use super::*;
use proptest::prelude::*;
use serde_json::json;

const NOW_S: u64 = 1_700_000_000;
const NOW: Timestamp = Timestamp::from_ms(NOW_S * 1000);

fn rules() -> ClaimRules {
    ClaimRules { issuer: None, audience: None, leeway: Duration::from_secs(30), require_exp: true }
}

fn judge(rules: &ClaimRules, claims: Value) -> Result<Principal, AuthError> {
    rules.judge(&serde_json::from_value(claims).unwrap(), NOW)
}

/// Claims that are in order, but for these.
fn claims_with(more: Value) -> Value {
    let mut claims = json!({"sub": "u1", "exp": NOW_S + 60});
    let Value::Object(more) = more else { panic!("claims are an object") };
    claims.as_object_mut().unwrap().extend(more);
    claims
}

fn refusal(more: Value) -> String {
    let shown = more.to_string();
    match judge(&rules(), claims_with(more)) {
        Err(AuthError::Invalid(reason)) => reason,
        other => panic!("{shown}: {other:?}"),
    }
}

#[test]
fn claims_become_a_principal() {
    let all = json!({"scope": "openid events:publish  admin", "categories": ["ai", "import"], "iat": "?", "azp": {}});
    let principal = judge(&rules(), claims_with(all)).unwrap();
    assert_eq!(principal.user.unwrap().as_str(), "u1");
    assert_eq!(principal.scopes, BTreeSet::from([Scope::EventsPublish, Scope::Admin]));
    assert_eq!(
        principal.categories.unwrap().iter().map(Category::as_str).collect::<Vec<_>>(),
        ["ai", "import"]
    );
}

#[test]
fn scopes_may_be_an_array_and_a_publisher_needs_no_user() {
    let principal =
        judge(&rules(), json!({"exp": NOW_S + 60, "scope": ["messages:publish", "x"]})).unwrap();
    assert_eq!(
        (principal.user, principal.scopes),
        (None, BTreeSet::from([Scope::MessagesPublish]))
    );
}

#[test]
fn promise_8_no_categories_are_not_all_categories() {
    assert_eq!(
        judge(&rules(), claims_with(json!({"categories": []}))).unwrap().categories,
        Some(BTreeSet::new())
    );
    assert_eq!(judge(&rules(), claims_with(json!({}))).unwrap().categories, None);
}

#[test]
fn a_token_without_an_end_is_refused_unless_it_may_come_without() {
    let lax = ClaimRules { require_exp: false, ..rules() };
    let endless = json!({"sub": "u1"});
    assert!(
        matches!(judge(&rules(), endless.clone()), Err(AuthError::Invalid(reason)) if reason.contains("auth.jwt.require_exp"))
    );
    assert_eq!(judge(&lax, endless).unwrap().expires_at, None);
    // Where there is an end, it counts.
    let exp = |exp: Value| json!({"sub": "u1", "exp": exp});
    assert_eq!(
        judge(&lax, exp(json!(NOW_S + 60))).unwrap().expires_at,
        Some(Timestamp::from_ms((NOW_S + 90) * 1000))
    );
    assert!(matches!(judge(&lax, exp(json!(NOW_S - 60))), Err(AuthError::Expired)));
    for unreadable in [json!(null), json!("never"), json!([])] {
        assert!(matches!(judge(&lax, exp(unreadable)), Err(AuthError::Invalid(_))));
    }
    assert!(matches!(
        judge(&lax, json!({"sub": "u1", "nbf": NOW_S + 60})),
        Err(AuthError::Invalid(_))
    ));
}

#[test]
fn a_claim_of_the_wrong_type_is_refused() {
    for value in [
        json!(null),
        json!(7),
        json!(true),
        json!({}),
        json!(["u1"]),
        json!(""),
        json!("a\nb"),
        json!("x".repeat(257)),
    ] {
        assert!(refusal(json!({"sub": value})).contains("`sub`"));
    }
    for value in [json!(null), json!(7), json!({}), json!(["admin", 7])] {
        assert!(refusal(json!({"scope": value})).contains("`scope`"));
    }
    for value in
        [json!(null), json!("ai"), json!({}), json!(["ai", 7]), json!(["Bad Name"]), json!([""])]
    {
        assert!(refusal(json!({"categories": value})).contains("`categories`"));
    }
    for value in [json!(null), json!("1700000060"), json!([]), json!(true)] {
        assert!(refusal(json!({"exp": value})).contains("`exp`"));
        assert!(refusal(json!({"nbf": value})).contains("`nbf`"));
    }
    assert!(
        matches!(judge(&rules(), json!({"sub": "u1"})), Err(AuthError::Invalid(reason)) if reason.contains("`exp`"))
    );
}

#[test]
fn a_token_ends_after_the_leeway_and_so_does_its_principal() {
    let at = |exp: Value| judge(&rules(), claims_with(json!({"exp": exp})));
    assert_eq!(
        at(json!(NOW_S - 29)).unwrap().expires_at,
        Some(Timestamp::from_ms((NOW_S + 1) * 1000))
    );
    assert_eq!(at(json!(NOW_S - 30)), Err(AuthError::Expired));
    assert_eq!(
        at(json!(1_699_999_970.001)).unwrap().expires_at,
        Some(Timestamp::from_ms(NOW_S * 1000 + 1))
    );
    for past in [json!(0), json!(-1), json!(i64::MIN), json!(-1e300), json!(-0.5), json!(0.1)] {
        assert_eq!(at(past.clone()), Err(AuthError::Expired), "{past}");
    }
    for far in [json!(u64::MAX), json!(i64::MAX), json!(1e300)] {
        assert_eq!(
            at(far.clone()).unwrap().expires_at,
            Some(Timestamp::from_ms(u64::MAX)),
            "{far}"
        );
    }
}

#[test]
fn a_token_begins_before_the_leeway() {
    assert!(refusal(json!({"nbf": NOW_S + 31})).contains("not valid yet"));
    assert!(refusal(json!({"nbf": 1e300})).contains("not valid yet"));
    for begun in [json!(NOW_S + 30), json!(0), json!(-7.5)] {
        assert!(judge(&rules(), claims_with(json!({"nbf": begun}))).is_ok());
    }
}

#[test]
fn issuer_and_audience_must_match_where_configured() {
    let strict = ClaimRules {
        issuer: Some("https://id".into()),
        audience: Some("rejoin".into()),
        ..rules()
    };
    let verdict = |iss: Value, aud: Value| {
        judge(&strict, claims_with(json!({"iss": iss, "aud": aud}))).is_ok()
    };
    assert!(verdict(json!("https://id"), json!("rejoin")));
    assert!(verdict(json!("https://id"), json!(["other", "rejoin"])));
    for iss in
        [json!(null), json!(""), json!("https://id/"), json!("HTTPS://ID"), json!(["https://id"])]
    {
        assert!(!verdict(iss, json!("rejoin")));
    }
    for aud in [
        json!(null),
        json!("Rejoin"),
        json!([]),
        json!(["other"]),
        json!(["rejoin", 7]),
        json!({"rejoin": 1}),
    ] {
        assert!(!verdict(json!("https://id"), aud));
    }
    assert!(judge(&strict, claims_with(json!({}))).is_err(), "what is missing does not match");
    assert!(
        judge(&rules(), claims_with(json!({"iss": 7, "aud": 7}))).is_ok(),
        "what is not configured is not looked at"
    );
}

#[test]
fn a_token_that_was_never_right_is_not_called_expired() {
    assert!(refusal(json!({"exp": 1, "sub": ""})).contains("`sub`"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_claimed_the_answer_is_in_time_and_never_a_panic(
        values in proptest::collection::vec(any_json(), 7),
        leeway_s in any::<u64>(),
        now_ms in any::<u64>(),
    ) {
        let names = ["iss", "aud", "nbf", "exp", "sub", "scope", "categories"];
        let claims: Claims = serde_json::from_value(names.into_iter().zip(values).collect()).unwrap();
        let rules = ClaimRules { issuer: None, audience: None, leeway: Duration::from_secs(leeway_s), require_exp: true };
        if let Ok(principal) = rules.judge(&claims, Timestamp::from_ms(now_ms)) {
            prop_assert!(principal.expires_at.is_some_and(|end| end.as_ms() > now_ms));
        }
    }
}
