//! A line for people: words in colours, cut to the terminal's width.
//!
//! Invariant: a line ends the colour that it began, and has no control characters but these.

use std::io::{self, IsTerminal};

use unicode_width::UnicodeWidthChar;

use crate::adapters::cli::printable::escaped;

/// What the output can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Whether it knows colours.
    pub(super) colour: bool,
    /// Its width, if there is one.
    pub(super) columns: Option<usize>,
}

impl Look {
    /// Of standard output, now: a window may change its width. Only a terminal has a width and
    /// colours.
    pub(super) fn of_stdout() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let columns =
            if is_terminal { terminal_size::terminal_size_of(io::stdout()) } else { None };
        Self {
            // See no-color.org.
            colour: is_terminal && !is_dumb && !is_set("NO_COLOR"),
            // A terminal that says that it has no columns doesn't know.
            columns: columns.map(|(width, _)| usize::from(width.0)).filter(|columns| *columns > 0),
        }
    }
}

/// How a word looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Faint,
    Strong,
    Coloured,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Faint => "\u{1b}[2m",
            Self::Strong => "\u{1b}[1m",
            Self::Coloured => "\u{1b}[36m",
        }
    }
}

const END_OF_STYLE: &str = "\u{1b}[0m";

/// A line being written.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    colour: bool,
    /// Columns that are left, without the last, which is for the mark that something was cut.
    room: usize,
    full: bool,
}

impl Line {
    pub(super) fn new(look: Look) -> Self {
        let room = look.columns.map_or(usize::MAX, |columns| columns.saturating_sub(1));
        Self { text: String::new(), colour: look.colour, room, full: false }
    }

    /// Adds a word, behind a space if it is not the first.
    pub(super) fn word(&mut self, style: Style, chars: impl Iterator<Item = char>) {
        if !self.text.is_empty() {
            self.push(' ');
        }
        if self.full {
            return;
        }
        let styled = self.colour && style != Style::Plain;
        if styled {
            self.text.push_str(style.code());
        }
        for char in chars {
            match escaped(char) {
                Some(escape) => escape.chars().for_each(|char| self.push(char)),
                None => self.push(char),
            }
            if self.full {
                break;
            }
        }
        if styled {
            self.text.push_str(END_OF_STYLE);
        }
    }

    /// The line with its end.
    pub(super) fn end(mut self) -> String {
        self.text.push('\n');
        self.text
    }

    fn push(&mut self, char: char) {
        if self.full {
            return;
        }
        if let Some(room) = self.room.checked_sub(char.width().unwrap_or(0)) {
            self.room = room;
            self.text.push(char);
        } else {
            self.text.push('…');
            self.full = true;
        }
    }
}
