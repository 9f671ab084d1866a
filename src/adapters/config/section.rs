//! How a section of the settings is declared: once, with all that is to be known of each key.
//!
//! Invariant: a field of a settings struct, its key's name, default, bounds and description come of
//! one declaration; `config/default.toml` and `docs/settings.md` are printed from it.

use super::allowed::Allowed;

/// A section, as declared.
pub(super) struct Section {
    /// Its name, dotted.
    pub(super) name: &'static str,
    /// What it is for, line by line.
    pub(super) about: &'static [&'static str],
    /// Its keys, in the order of `config/default.toml`.
    pub(super) keys: &'static [Key],
}

/// A key of the settings.
pub(super) struct Key {
    /// Its name, dotted.
    pub(super) name: &'static str,
    /// The name that the environment of older deployments has for it.
    pub(super) legacy: Option<&'static str>,
    /// Its default, in TOML.
    pub(super) default: &'static str,
    /// What it does, line by line.
    pub(super) about: &'static [&'static str],
    /// What it may be.
    pub(super) allowed: Allowed,
}

impl Key {
    /// Its name within its section.
    pub(super) fn name_in(&self, section: &str) -> &'static str {
        self.name.get(section.len() + 1..).unwrap_or_default()
    }
}

/// Declares a section: the struct that its settings are read into, and as its constant `SECTION`
/// what the rest of this module knows about it.
///
/// ```text
/// section! {
///     /// What the section is for.
///     "name" => NameSettings {
///         /// What the key does: printed in `config/default.toml` and `docs/settings.md`.
///         #[serde(deserialize_with = "how the field's type is made")]
///         field as "key" also "OLDER_VARIABLE": Type = default, what it may be;
///
///         with
///         /// A section within this one.
///         inner: InnerSettings;
///     }
/// }
/// ```
///
/// `as` stands where the key's name has a unit and the field's type makes it needless
/// (`drain_seconds`, a `Duration`).
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $section:literal => $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($made:tt)+)])?
                $field:ident $(as $key:literal)? $(also $legacy:literal)?: $type:ty = $default:expr, $allowed:expr;
            )*
            $(
                with
                $(#[doc = $inner_doc:literal])+
                $inner:ident: $inner_type:ty;
            )?
        }
    ) => {
        #[doc = concat!("`[", $section, "]`")]
        $(#[doc = $about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                $(#[serde(rename = $key)])?
                $(#[serde($($made)+)])?
                pub $field: $type,
            )*
            $(
                $(#[doc = $inner_doc])+
                pub $inner: $inner_type,
            )?
        }

        impl $name {
            pub(super) const SECTION: $crate::adapters::config::section::Section = $crate::adapters::config::section::Section {
                name: $section,
                about: &[$($about),*],
                keys: &[$($crate::adapters::config::section::Key {
                    name: $crate::adapters::config::section::key_name!($section, $field $(, $key)?),
                    legacy: [$(Some($legacy),)? None][0],
                    default: stringify!($default),
                    about: &[$($doc),+],
                    allowed: $allowed,
                }),*],
            };
        }
    };
}
pub(super) use section;

/// The dotted name of a key: that of its field, unless it has one of its own.
macro_rules! key_name {
    ($section:literal, $field:ident) => {
        concat!($section, ".", stringify!($field))
    };
    ($section:literal, $field:ident, $key:literal) => {
        concat!($section, ".", $key)
    };
}
pub(super) use key_name;
