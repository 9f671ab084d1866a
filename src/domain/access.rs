//! Who is asking, and what they may do.
//!
//! Invariant: a user reads their own topics only. The topic of a read comes from the principal; to
//! name another's is an operator's call, and needs [`Scope::Admin`], or that of a service that
//! reads messages, and needs [`Scope::MessagesRead`]. What needs a scope takes the
//! proof that it was granted, which only [`Principal`] makes.

use std::collections::BTreeSet;

use super::{category::Category, timestamp::Timestamp, topic::UserId};

/// A right that has to be granted. Reading one's own events needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Publish user events.
    EventsPublish,
    /// Produce messages.
    MessagesPublish,
    /// Read every user's messages.
    MessagesRead,
    /// Look into and act on other users' state.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] =
        [Self::EventsPublish, Self::MessagesPublish, Self::MessagesRead, Self::Admin];

    /// The scope's name in tokens and settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsPublish => "events:publish",
            Self::MessagesPublish => "messages:publish",
            Self::MessagesRead => "messages:read",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name. Tokens carry other programs' scopes too, so an unknown name is
    /// nothing to complain of.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A caller whose credentials have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user whose events they read; none for a publisher's key.
    pub user: Option<UserId>,
    /// What they were granted.
    pub scopes: BTreeSet<Scope>,
    /// The categories they may read; `None` for all.
    pub categories: Option<BTreeSet<Category>>,
    /// When their credentials end; `None` for never.
    pub expires_at: Option<Timestamp>,
}

macro_rules! principals_with {
    ($($(#[$docs:meta])* $name:ident: $scope:ident;)*) => {$(
        $(#[$docs])*
        #[derive(Clone, Debug)]
        pub struct $name(Principal);

        impl $name {
            /// Who it is.
            pub const fn principal(&self) -> &Principal {
                &self.0
            }
        }

        impl TryFrom<Principal> for $name {
            type Error = Forbidden;

            fn try_from(principal: Principal) -> Result<Self, Forbidden> {
                principal.require(Scope::$scope)?;
                Ok(Self(principal))
            }
        }
    )*};
}

principals_with! {
    /// A principal that may look into and act on other users' state.
    Operator: Admin;
    /// A principal that may publish user events.
    EventPublisher: EventsPublish;
    /// A principal that may produce messages.
    MessageProducer: MessagesPublish;
}

impl From<Operator> for EventPublisher {
    /// Operators publish test events.
    fn from(Operator(principal): Operator) -> Self {
        Self(principal)
    }
}

/// What a principal lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// A scope that was not granted.
    #[error("the credentials lack the scope `{}`", .0.as_str())]
    Scope(Scope),
    /// The credentials name no user, so there are no events to read.
    #[error("the credentials name no user (a token's `sub`), so there are no events to read")]
    NoUser,
    /// Only some categories may be read, and what was asked for has all of them.
    #[error("the credentials allow some categories only, and this has events of all of them")]
    SomeCategories,
}

impl Principal {
    /// Whether this scope was granted.
    ///
    /// # Errors
    /// [`Forbidden::Scope`].
    pub fn require(&self, scope: Scope) -> Result<(), Forbidden> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(Forbidden::Scope(scope)) }
    }

    /// Whether this principal may read events of every category.
    ///
    /// # Errors
    /// [`Forbidden::SomeCategories`].
    pub const fn require_all_categories(&self) -> Result<(), Forbidden> {
        if self.categories.is_none() { Ok(()) } else { Err(Forbidden::SomeCategories) }
    }

    /// The user whose events this principal may read.
    ///
    /// # Errors
    /// [`Forbidden::NoUser`].
    pub fn reader(&self) -> Result<&UserId, Forbidden> {
        self.user.as_ref().ok_or(Forbidden::NoUser)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_8_rights_come_from_grants_alone() {
        let publisher = Principal {
            user: None,
            scopes: BTreeSet::from([Scope::EventsPublish]),
            categories: None,
            expires_at: None,
        };
        assert_eq!(publisher.require(Scope::EventsPublish), Ok(()));
        assert_eq!(publisher.require(Scope::Admin), Err(Forbidden::Scope(Scope::Admin)));
        assert_eq!(publisher.reader(), Err(Forbidden::NoUser));
    }

    #[test]
    fn promise_8_only_a_scope_that_was_granted_gives_its_proof() {
        let with = |scope| Principal {
            user: None,
            scopes: BTreeSet::from([scope]),
            categories: None,
            expires_at: None,
        };
        for scope in Scope::ALL {
            let lacks = |wanted: Scope| (scope != wanted).then_some(Forbidden::Scope(wanted));
            assert_eq!(Operator::try_from(with(scope)).err(), lacks(Scope::Admin));
            assert_eq!(EventPublisher::try_from(with(scope)).err(), lacks(Scope::EventsPublish));
            assert_eq!(MessageProducer::try_from(with(scope)).err(), lacks(Scope::MessagesPublish));
        }
    }

    #[test]
    fn scope_names_are_found_and_foreign_ones_are_not() {
        for scope in Scope::ALL {
            assert_eq!(Scope::find(scope.as_str()), Some(scope));
        }
        for name in ["", "Admin", "openid", "events:publish "] {
            assert_eq!(Scope::find(name), None);
        }
    }
}
