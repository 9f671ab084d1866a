//! What a mistyped name may have meant.

/// The known name that is most like the wanted one, if any is like it: almost the same letters,
/// whatever stands between them, or the same last part in another section.
pub(super) fn nearest<'a>(
    wanted: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let wanted_letters = letters(wanted);
    let (distance, name) = known
        .clone()
        .map(|name| (strsim::levenshtein(&wanted_letters, &letters(name)), name))
        .min()?;
    if distance <= (wanted_letters.len() / 4).max(1) {
        return Some(name);
    }
    let last = last_part(wanted);
    known.into_iter().find(|name| last_part(name) == last)
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_finds_what_was_meant() {
        let known =
            ["sse.keepalive_seconds", "sse.retry_ms", "events.backend", "events.stream_maxlen"];
        for (wanted, meant) in [
            ("sse.keepalive_secs", Some("sse.keepalive_seconds")),
            ("sse.KeepAliveSeconds", Some("sse.keepalive_seconds")),
            ("events_backend", Some("events.backend")),
            ("sse.stream_maxlen", Some("events.stream_maxlen")),
            ("evnt.backend", Some("events.backend")),
            ("something.else", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, known.iter().copied()), meant, "{wanted}");
        }
    }
}
