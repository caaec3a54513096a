//! Who made a request that led to an event.

use std::fmt;
use std::str::FromStr;

use crate::access::UserId;
use crate::number::KeyNumber;

const ROOT: &str = "root";
const KEY: &str = "key";
const USER: &str = "user";

/// The credential with which a client made the request that led to an event.
///
/// The log keeps it with the event, so that people can find out who did what. No projection depends on it. As a text it is
/// `root`, `key:3` or `user:alice`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Whoever has the root key.
    Root,
    /// Whoever has the key with this number, of the event's application.
    Key(KeyNumber),
    /// A user of the event's application, by a token.
    User(UserId),
}

/// The text is no actor that this release knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an actor is root, key: and the number of a key, or user: and the name of a user")]
pub struct MalformedActor;

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str(ROOT),
            Self::Key(number) => write!(f, "{KEY}:{number}"),
            Self::User(user) => write!(f, "{USER}:{user}"),
        }
    }
}

impl FromStr for Actor {
    type Err = MalformedActor;

    fn from_str(text: &str) -> Result<Self, MalformedActor> {
        match text.split_once(':') {
            None if text == ROOT => Ok(Self::Root),
            Some((KEY, number)) => number.parse().map(Self::Key).map_err(|_| MalformedActor),
            Some((USER, user)) => UserId::new(user.to_owned()).map(Self::User).map_err(|_| MalformedActor),
            None | Some(_) => Err(MalformedActor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_have_these_texts_for_ever() {
        let user = |name: &str| Actor::User(UserId::new(name.into()).unwrap());
        for (actor, text) in [
            (Actor::Root, "root"),
            (Actor::Key(KeyNumber::new(3).unwrap()), "key:3"),
            (user("alice"), "user:alice"),
            (user("root"), "user:root"),
            (user("tenant:7:é\n"), "user:tenant:7:é\n"),
        ] {
            assert_eq!(actor.to_string(), text);
            assert_eq!(text.parse(), Ok(actor));
        }
    }

    #[test]
    fn no_other_text_is_an_actor() {
        let long = format!("user:{}", "x".repeat(256));
        for text in
            ["", "Root", "root:", "key", "key:", "key:0", "key:03", "key:4294967296", "user", "user:", "team:1", &long]
        {
            assert_eq!(text.parse::<Actor>(), Err(MalformedActor), "{text}");
        }
    }
}
