//! What a mistyped name may have meant.

/// The known name that is most like the wanted one, if any is like it: almost the same letters,
/// whatever stands between them, or the same last part in another section.
pub(super) fn nearest<'a>(
    wanted: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let wanted_letters = letters(wanted);
    let (distance, name) =
        known.clone().map(|name| (distance(&wanted_letters, &letters(name)), name)).min()?;
    if distance <= (wanted_letters.len() / 4).max(1) {
        return Some(name);
    }
    let last = last_part(wanted);
    known.into_iter().find(|name| last_part(name) == last)
}

fn letters(name: &str) -> Vec<char> {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The Levenshtein distance: how many letters must be put in, taken out or changed.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
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

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(&letters(left), &letters(right)), expected, "{left} {right}");
        }
    }
}
