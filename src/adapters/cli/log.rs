//! The log of a server: its lines, on standard error.
//!
//! Invariant: no value can forge a field, a line or the direction of a text, whichever way it was
//! recorded. In text lines a value that is not plain stands in quotes, as JSON writes strings; so
//! does a message that could be taken for fields. In both formats characters that a terminal would
//! obey are escaped (`printable`).

use std::{
    error::Error,
    fmt::{self, Write as _},
    io::{self, IsTerminal},
};

use tracing::{
    Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::printable::{Printable, escaped};
use crate::adapters::{
    config::{LogFormat, LogSettings},
    traces::Traces,
};

/// A driver that logs each attempt to connect. What it meets is logged once by who uses it. The
/// settings may ask for it all the same.
const QUIET: &str = "async_nats=off";

/// Logs from now on.
pub(super) fn start(log: &LogSettings, traces: Option<&Traces>) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_new(format!("{QUIET},{}", log.level))?;
    match traces {
        // A filter for all is cheaper than one for each layer: what is not wanted is not even made.
        None => tracing_subscriber::registry().with(filter).with(lines(log.format)).init(),
        Some(traces) => tracing_subscriber::registry()
            .with(lines(log.format).with_filter(filter))
            .with(traces.layer())
            .init(),
    }
    Ok(())
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(
    format: LogFormat,
) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Text => lines
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .fmt_fields(TextFields)
            .boxed(),
        LogFormat::Json => lines.json().with_writer(|| JsonLines(io::stderr())).boxed(),
    }
}

/// Takes whole lines of JSON, and escapes what JSON itself lets through.
struct JsonLines<W>(W);

impl<W: io::Write> io::Write for JsonLines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        self.0.write_all(format!("{}\n", Printable(text)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes the message and the fields of a text line.
struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = Text { writer, written: Ok(()), is_first: true };
        fields.record(&mut text);
        text.written
    }
}

struct Text<'writer> {
    writer: Writer<'writer>,
    written: fmt::Result,
    is_first: bool,
}

impl Text<'_> {
    fn write(&mut self, field: &Field, value: &str, is_bare: bool) {
        let space = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let name = if field.name() == "message" { "" } else { field.name() };
        let equals = if name.is_empty() { "" } else { "=" };
        let written = if is_bare {
            write!(self.writer, "{space}{name}{equals}{value}")
        } else {
            write!(self.writer, "{space}{name}{equals}{}", Quoted(value))
        };
        self.written = self.written.and(written);
    }
}

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, value, field.name() == "message" && is_plain_message(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // What a library says through the crate `log` has its place in the source among its fields.
        if field.name().starts_with("log.") {
            return;
        }
        let value = format!("{value:?}");
        let is_bare =
            if field.name() == "message" { is_plain_message(&value) } else { is_plain(&value) };
        self.write(field, &value, is_bare);
    }
}

/// Whether a value can't be taken for anything but one value.
fn is_plain(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/@+,".contains(&byte))
}

/// Whether nothing in a message can be taken for a field, and nothing is harmful: a field's `=`
/// follows its name at once.
fn is_plain_message(message: &str) -> bool {
    let has_field = message.as_bytes().windows(2).any(|pair| pair[1] == b'=' && pair[0] != b' ');
    !has_field
        && !message.starts_with(['"', '='])
        && message.chars().all(|char| escaped(char).is_none())
}

/// A text as a JSON string that shows no harmful character.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for char in self.0.chars() {
            match (char, escaped(char)) {
                ('"' | '\\', _) => write!(f, "\\{char}")?,
                (_, Some(escape)) => f.write_str(&escape)?,
                (char, None) => f.write_char(char)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_bare_unless_it_could_be_taken_for_fields() {
        for plain in
            ["stream over", "auth.mode is `none`: set auth.mode = \"jwt\"", "it's 1, 2 or more", ""]
        {
            assert!(is_plain_message(plain), "{plain}");
        }
        for other in ["over user=admin", "\"over\"", "two\nlines", "turned \u{202e} around", "=x"] {
            assert!(!is_plain_message(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_value_reads_back_from_its_quotes(value: String) {
            let quoted = Quoted(&value).to_string();
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), value);
            prop_assert!(quoted.chars().all(|char| escaped(char).is_none()));
        }

        #[test]
        fn a_plain_value_has_nothing_that_ends_it(value: String) {
            let has_end = value.contains([' ', '=', '"', '\\', '{', '}']);
            prop_assert!(!is_plain(&value) || !has_end);
        }

        #[test]
        fn a_line_of_json_stays_the_same_json(value in "[a\u{7f}\u{9b}\u{202e}\u{2028}é\"\\\\\n]{0,20}") {
            let mut lines = JsonLines(Vec::new());
            let line = format!("{}\n", serde_json::to_string(&value).unwrap());
            io::Write::write_all(&mut lines, line.as_bytes()).unwrap();
            let written = String::from_utf8(lines.0).unwrap();
            let text = written.strip_suffix('\n').unwrap();
            prop_assert!(text.chars().all(|char| escaped(char).is_none()));
            prop_assert_eq!(serde_json::from_str::<String>(text).unwrap(), value);
        }
    }
}
