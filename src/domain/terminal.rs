//! How a message ends.
//!
//! Invariant: of two events that end a message alike, [`Last`] says the same: what their type says
//! already is not said again.

use super::event_type::EventType;

/// The ways in which a message ends. Each has the name of the type of event that ends it so by
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Type `end`: the answer is whole.
    End,
    /// Type `error`: it is not, and nothing more will come.
    Error,
}

impl Terminal {
    /// The way that has this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        [Self::End, Self::Error].into_iter().find(|terminal| terminal.as_str() == name)
    }

    /// The way's name, which is a type of event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Error => "error",
        }
    }
}

impl From<Terminal> for EventType {
    /// The type that ends a message in this way.
    fn from(terminal: Terminal) -> Self {
        Self::of_server(terminal.as_str())
    }
}

/// Whether an event ends its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Last {
    /// As its type says: `end` and `error` do.
    #[default]
    AsItsType,
    /// It does not, whatever its type.
    No,
    /// It does, and in this way.
    Yes(Terminal),
}

impl Last {
    /// What an event of that type is, where its producer may have said whether it is the last one,
    /// and how the message ended with it.
    pub fn of(event_type: &EventType, last: Option<bool>, ended: Option<Terminal>) -> Self {
        let by_type = Terminal::named(event_type.as_str());
        let terminal = match last {
            Some(true) => ended.or(by_type).or(Some(Terminal::End)),
            Some(false) => None,
            None => by_type.map(|by_type| ended.unwrap_or(by_type)),
        };
        match terminal {
            _ if terminal == by_type => Self::AsItsType,
            Some(terminal) => Self::Yes(terminal),
            None => Self::No,
        }
    }

    /// Its name, as backends keep it; none where the type says all.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::AsItsType => None,
            Self::No => Some("no"),
            Self::Yes(terminal) => Some(terminal.as_str()),
        }
    }

    /// What has this name; an unknown one leaves it to the type.
    pub fn named(name: &str) -> Self {
        match Terminal::named(name) {
            Some(terminal) => Self::Yes(terminal),
            None if Some(name) == Self::No.name() => Self::No,
            None => Self::AsItsType,
        }
    }

    /// How a message ends with an event of that type, if it does.
    pub fn terminal(self, event_type: &EventType) -> Option<Terminal> {
        match self {
            Self::AsItsType => Terminal::named(event_type.as_str()),
            Self::No => None,
            Self::Yes(terminal) => Some(terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_last_is_said_in_one_way() {
        let (end, error) = (Some(Terminal::End), Some(Terminal::Error));
        for (event_type, last, ended, expected, terminal) in [
            ("chunk", None, None, Last::AsItsType, None),
            ("chunk", Some(false), None, Last::AsItsType, None),
            ("chunk", Some(true), None, Last::Yes(Terminal::End), end),
            ("chunk", Some(true), error, Last::Yes(Terminal::Error), error),
            ("end", None, None, Last::AsItsType, end),
            ("end", Some(true), end, Last::AsItsType, end),
            ("end", None, error, Last::Yes(Terminal::Error), error),
            ("end", Some(false), None, Last::No, None),
            ("error", Some(true), None, Last::AsItsType, error),
            ("error", Some(true), end, Last::Yes(Terminal::End), end),
        ] {
            let event_type = EventType::parse(event_type).unwrap();
            let found = Last::of(&event_type, last, ended);
            assert_eq!((found, found.terminal(&event_type)), (expected, terminal));
            assert_eq!(found.name().map_or(Last::AsItsType, Last::named), found);
        }
    }
}
