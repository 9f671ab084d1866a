//! Named groups of event types, and filters over them.
//!
//! Invariant: a category is a name that the registry knows. An event without a category passes an
//! open filter only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::event_type::EventType;

/// The name of a category: 1 to 64 bytes of `[a-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Category(Arc<str>);

/// Longest category name, in bytes.
pub const CATEGORY_BYTES_MAX: usize = 64;

/// The text is no category name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a category name has 1 to {CATEGORY_BYTES_MAX} characters of a-z, 0-9, '_' and '-'")]
pub struct InvalidCategory;

impl Category {
    /// Checks the form of a name. Whether anybody knows the category is the registry's business.
    ///
    /// # Errors
    /// [`InvalidCategory`].
    pub fn parse(text: &str) -> Result<Self, InvalidCategory> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        if text.is_empty() || text.len() > CATEGORY_BYTES_MAX || !text.bytes().all(allowed) {
            return Err(InvalidCategory);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Category {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Which types belong to which category.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    names: BTreeSet<Category>,
    exact: BTreeMap<String, Category>,
    /// Longest prefix first, so that the most specific pattern wins.
    prefixes: Vec<(String, Category)>,
}

/// Why a registry can't be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistry {
    /// A name breaks the rules.
    #[error("category `{0}`: {InvalidCategory}")]
    Name(String),
    /// A pattern is neither a type nor a type's beginning followed by `*`.
    #[error(
        "category `{category}`: pattern `{pattern}` must be an event type, or the beginning of one followed by `*`"
    )]
    Pattern {
        /// The category that names the pattern.
        category: String,
        /// The pattern as configured.
        pattern: String,
    },
    /// Two categories name one pattern.
    #[error("pattern `{pattern}` stands in two categories, `{first}` and `{second}`")]
    Ambiguous {
        /// The pattern as configured.
        pattern: String,
        /// The category that has it.
        first: String,
        /// The category that claims it too.
        second: String,
    },
}

impl Registry {
    /// Builds the registry from names and their patterns. A pattern is a type (`sync.done`) or a
    /// type's beginning followed by `*` (`sync.*`, `*`). Where several match a type, an exact one
    /// wins, then the longest.
    ///
    /// # Errors
    /// The first name or pattern that breaks a rule.
    pub fn build<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Result<Self, InvalidRegistry> {
        let mut registry = Self::default();
        for (name, patterns) in entries {
            let category =
                Category::parse(name).map_err(|_| InvalidRegistry::Name(name.to_owned()))?;
            registry.names.insert(category.clone());
            for pattern in patterns {
                registry.add(&category, pattern)?;
            }
        }
        registry.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(registry)
    }

    fn add(&mut self, category: &Category, pattern: &str) -> Result<(), InvalidRegistry> {
        let ambiguous = |first: &Category| InvalidRegistry::Ambiguous {
            pattern: pattern.to_owned(),
            first: first.to_string(),
            second: category.to_string(),
        };
        let malformed = || InvalidRegistry::Pattern {
            category: category.to_string(),
            pattern: pattern.to_owned(),
        };
        if let Some(prefix) = pattern.strip_suffix('*') {
            if !prefix.is_empty() && EventType::parse(prefix).is_err() {
                return Err(malformed());
            }
            if let Some((_, first)) = self.prefixes.iter().find(|(known, _)| known == prefix) {
                return Err(ambiguous(first));
            }
            self.prefixes.push((prefix.to_owned(), category.clone()));
        } else {
            EventType::parse(pattern).map_err(|_| malformed())?;
            if let Some(first) = self.exact.insert(pattern.to_owned(), category.clone()) {
                return Err(ambiguous(&first));
            }
        }
        Ok(())
    }

    /// The category of a type, if a pattern matches it.
    pub fn category_of(&self, event_type: &EventType) -> Option<&Category> {
        let text = event_type.as_str();
        self.exact.get(text).or_else(|| {
            self.prefixes
                .iter()
                .find(|(prefix, _)| text.starts_with(prefix))
                .map(|(_, category)| category)
        })
    }

    /// The known category of that name.
    pub fn find(&self, name: &str) -> Option<&Category> {
        self.names.iter().find(|category| category.as_str() == name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Category> {
        self.names.iter()
    }
}

/// Which categories a reader wants and may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CategoryFilter {
    /// Everything, events without a category too.
    #[default]
    All,
    /// These categories only.
    Only(Arc<BTreeSet<Category>>),
}

/// The reader asked for a category that the token doesn't grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token does not allow category `{0}`")]
pub struct CategoryNotAllowed(pub Category);

impl CategoryFilter {
    /// What was asked for, within what is granted. Asking for nothing asks for all that is granted;
    /// `granted` of `None` grants everything.
    ///
    /// # Errors
    /// The first category that was asked for and is not granted.
    pub fn resolve(
        requested: BTreeSet<Category>,
        granted: Option<&BTreeSet<Category>>,
    ) -> Result<Self, CategoryNotAllowed> {
        match granted {
            _ if requested.is_empty() => Ok(Self::granted(granted)),
            None => Ok(Self::Only(Arc::new(requested))),
            Some(granted) => match requested.difference(granted).next() {
                Some(excess) => Err(CategoryNotAllowed(excess.clone())),
                None => Ok(Self::Only(Arc::new(requested))),
            },
        }
    }

    /// The same for a reader who names nothing: all that is granted.
    pub fn granted(granted: Option<&BTreeSet<Category>>) -> Self {
        granted.map_or(Self::All, |granted| Self::Only(Arc::new(granted.clone())))
    }

    /// Whether an event of this category gets through.
    pub fn passes(&self, category: Option<&Category>) -> bool {
        match self {
            Self::All => true,
            Self::Only(wanted) => category.is_some_and(|category| wanted.contains(category)),
        }
    }
}

/// As logs name it: the categories with commas between, or `all`.
impl fmt::Display for CategoryFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only(wanted) = self else { return f.write_str("all") };
        wanted
            .iter()
            .enumerate()
            .try_for_each(|(n, category)| write!(f, "{}{category}", if n == 0 { "" } else { "," }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn registry(entries: &[(&str, &[&str])]) -> Result<Registry, InvalidRegistry> {
        let owned: Vec<(&str, Vec<String>)> = entries
            .iter()
            .map(|(name, patterns)| (*name, patterns.iter().map(|p| (*p).to_owned()).collect()))
            .collect();
        Registry::build(owned.iter().map(|(name, patterns)| (*name, patterns.as_slice())))
    }

    fn category_of(registry: &Registry, text: &str) -> Option<String> {
        registry.category_of(&EventType::parse(text).unwrap()).map(Category::to_string)
    }

    fn set(names: &[&str]) -> BTreeSet<Category> {
        names.iter().map(|name| Category::parse(name).unwrap()).collect()
    }

    #[test]
    fn the_most_specific_pattern_wins() {
        let registry = registry(&[
            ("any", &["*"]),
            ("ai", &["ai.*"]),
            ("chunk", &["ai.chunk.*"]),
            ("done", &["ai.chunk.done"]),
        ])
        .unwrap();
        assert_eq!(category_of(&registry, "x").as_deref(), Some("any"));
        assert_eq!(category_of(&registry, "ai.x").as_deref(), Some("ai"));
        assert_eq!(category_of(&registry, "ai.chunk.x").as_deref(), Some("chunk"));
        assert_eq!(category_of(&registry, "ai.chunk.done").as_deref(), Some("done"));
    }

    #[test]
    fn a_type_without_a_pattern_has_no_category() {
        let registry = registry(&[("ai", &["ai.*"])]).unwrap();
        assert_eq!(category_of(&registry, "ai"), None);
        assert_eq!(category_of(&registry, "aix"), None);
    }

    #[test]
    fn a_registry_with_a_mistake_is_refused() {
        assert!(matches!(registry(&[("Bad Name", &[])]), Err(InvalidRegistry::Name(_))));
        assert!(matches!(registry(&[("a", &["x*y"])]), Err(InvalidRegistry::Pattern { .. })));
        assert!(matches!(registry(&[("a", &[""])]), Err(InvalidRegistry::Pattern { .. })));
        assert!(matches!(
            registry(&[("a", &["x.*"]), ("b", &["x.*"])]),
            Err(InvalidRegistry::Ambiguous { .. })
        ));
        assert!(matches!(
            registry(&[("a", &["x"]), ("b", &["x"])]),
            Err(InvalidRegistry::Ambiguous { .. })
        ));
    }

    #[test]
    fn promise_8_a_filter_never_exceeds_the_grant() {
        assert_eq!(CategoryFilter::resolve(set(&[]), None), Ok(CategoryFilter::All));
        assert_eq!(
            CategoryFilter::resolve(set(&[]), Some(&set(&["ai"]))),
            Ok(CategoryFilter::Only(Arc::new(set(&["ai"]))))
        );
        assert_eq!(
            CategoryFilter::resolve(set(&["ai"]), Some(&set(&["ai", "import"]))),
            Ok(CategoryFilter::Only(Arc::new(set(&["ai"]))))
        );
        assert!(CategoryFilter::resolve(set(&["ai", "security"]), Some(&set(&["ai"]))).is_err());
    }

    proptest! {
        #[test]
        fn a_filter_passes_what_it_names_and_nothing_else(wanted in proptest::collection::btree_set("[a-c]{1,2}", 1..4), category in proptest::option::of("[a-c]{1,2}")) {
            let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let filter = CategoryFilter::resolve(set(&names), None).unwrap();
            let category = category.map(|name| Category::parse(&name).unwrap());
            prop_assert_eq!(filter.passes(category.as_ref()), category.as_ref().is_some_and(|c| wanted.contains(c.as_str())));
            prop_assert!(CategoryFilter::All.passes(category.as_ref()));
        }
    }
}
