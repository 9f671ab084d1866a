//! Durations as people type them: `90s`, `30m`, `1h`, `7d`.

use std::time::Duration;

/// Longest duration that is taken, in days: ten years.
const DAYS_MAX: u64 = 3650;
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// The text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number and a unit, from 1s to {DAYS_MAX}d: 90s, 30m, 1h or 7d")]
pub(super) struct InvalidDuration;

/// Reads a duration.
pub(super) fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let unit = text.char_indices().next_back().ok_or(InvalidDuration)?;
    let seconds_per_unit = match unit.1 {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => SECONDS_PER_DAY,
        _ => return Err(InvalidDuration),
    };
    let digits = &text[..unit.0];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration);
    }
    let number: u64 = digits.parse().map_err(|_| InvalidDuration)?;
    let seconds = number
        .checked_mul(seconds_per_unit)
        .filter(|seconds| (1..=DAYS_MAX * SECONDS_PER_DAY).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(InvalidDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_a_duration() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1800),
            ("1h", 3600),
            ("7d", 604_800),
            ("3650d", 315_360_000),
            ("007s", 7),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "s",
            "90",
            "0s",
            "0d",
            "-1s",
            "+1s",
            "1.5h",
            "1 h",
            "1w",
            "1h30m",
            "3651d",
            "99999999999999999999s",
            "1é",
            "é",
        ] {
            assert_eq!(parse(text), Err(InvalidDuration), "{text}");
        }
    }
}
