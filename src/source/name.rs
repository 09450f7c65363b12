//! Names of items. In a source that discovers its servers they have the form SERVER/NAME. In other sources a slash is an
//! ordinary character: a database may be called `a/b`, and the items of directories are paths.

use super::GLOBALS;

/// An item name, split into its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemName<'a> {
    /// The server, if the source has several.
    pub server: Option<&'a str>,
    /// The name on the server.
    pub name: &'a str,
}

impl<'a> ItemName<'a> {
    /// Splits a name; `has_servers` says whether the source has several servers.
    pub fn parse(item: &'a str, has_servers: bool) -> Self {
        match item.split_once('/').filter(|_| has_servers) {
            Some((server, name)) => Self { server: Some(server), name },
            None => Self { server: None, name: item },
        }
    }

    /// Splits the name of a stored item. Each server has its own `@globals`: if a snapshot of them exists, the part before the
    /// first slash is a server. `is_stored` says whether the source has a snapshot of an item.
    pub fn stored(item: &'a str, is_stored: impl Fn(&str) -> bool) -> Self {
        let parts = Self::parse(item, true);
        if parts.server.is_some() && is_stored(&parts.globals()) { parts } else { Self::parse(item, false) }
    }

    /// Whether it is the `@globals` of a server.
    pub fn is_globals(&self) -> bool {
        self.name == GLOBALS
    }

    /// The name of its server's `@globals`.
    pub fn globals(&self) -> String {
        match self.server {
            Some(server) => format!("{server}/{GLOBALS}"),
            None => GLOBALS.to_owned(),
        }
    }
}

/// The parts of the name of a server's `@globals`; `None` of any other name.
pub fn globals(item: &str) -> Option<ItemName<'_>> {
    let (server, name) = match item.rsplit_once('/') {
        Some((server, name)) => (Some(server), name),
        None => (None, item),
    };
    (name == GLOBALS).then_some(ItemName { server, name })
}

/// The rest of a name below a prefix: of `account/container` below `account`, `container`.
pub fn within<'a>(item: &'a str, whole: &str) -> Option<&'a str> {
    item.strip_prefix(whole)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_divides_only_where_there_are_servers() {
        let parts = |item, has_servers| {
            let ItemName { server, name } = ItemName::parse(item, has_servers);
            (server, name)
        };
        assert_eq!(parts("one/shop/old", true), (Some("one"), "shop/old"));
        assert_eq!(parts("one/shop", false), (None, "one/shop"));
        assert_eq!(parts("shop", true), (None, "shop"));
        assert_eq!(ItemName::parse("one/@globals", true).globals(), "one/@globals");
        assert!(ItemName::parse("one/@globals", true).is_globals());
        assert!(!ItemName::parse("one/@globals", false).is_globals());
    }

    #[test]
    fn stored_globals_say_that_there_are_servers() {
        let stored = |name: &str| name == "one/@globals";
        assert_eq!(ItemName::stored("one/shop", stored).globals(), "one/@globals");
        assert_eq!(ItemName::stored("two/shop", stored), ItemName { server: None, name: "two/shop" });
        assert_eq!(ItemName::stored("two/shop", stored).globals(), "@globals");
    }

    #[test]
    fn globals_are_known_by_the_whole_of_their_name() {
        assert_eq!(globals("@globals"), Some(ItemName { server: None, name: "@globals" }));
        assert_eq!(globals("one/@globals").and_then(|name| name.server), Some("one"));
        assert_eq!(globals("not@globals"), None);
        assert_eq!(within("account/box", "account"), Some("box"));
        assert_eq!((within("account2/box", "account"), within("account", "account")), (None, None));
    }
}
