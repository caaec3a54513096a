//! Who may do what: one rule for each route and method of both ports.

use axum::http::Method;
use events::{ApplicationToken, ChatNumber, Scope};

use crate::principal::{Chats, Principal};
use crate::refusal::Refusal;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any principal, which is shown what is its own.
    AnyPrincipal,
    /// The root key. Everybody has its rights while the server is open.
    Root,
    /// A key of the application, with this scope. No token of a user.
    Key(Scope),
    /// A key of the application that can mint: one that has a number, by which what it has minted is revoked. Also while the server is open.
    MintingKey,
    /// A key of the application, or a token of one of its users, with this scope.
    Application(Scope),
    /// The same, and the chat is one of the token's.
    Chat(Scope),
}

/// Who may use one method of a route.
#[derive(Debug)]
pub struct Rule {
    pub method: Method,
    pub route: &'static str,
    pub needs: Needs,
}

const APPLICATIONS: &str = "/api/v1/chat_applications";
const APPLICATION: &str = "/api/v1/chat_applications/{token}";
const KEYS: &str = "/api/v1/chat_applications/{token}/keys";
const KEY: &str = "/api/v1/chat_applications/{token}/keys/{key}";
const USER_TOKENS: &str = "/api/v1/chat_applications/{token}/user_tokens";
const EVENTS: &str = "/api/v1/chat_applications/{token}/events";
const CHATS: &str = "/api/v1/chat_applications/{token}/chats";
const CHAT: &str = "/api/v1/chat_applications/{token}/chats/{chat}";
const MESSAGES: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages";
const SEARCH: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages/search";
const MESSAGE: &str = "/api/v1/chat_applications/{token}/chats/{chat}/messages/{message}";

/// The rules of both ports. A program does not start with a route that OpenAPI describes and that has no rule. A route that OpenAPI does
/// not describe, and that has none, is 404 for everybody. See [`mod@crate::guard`].
pub static RULES: &[Rule] = &[
    // Writes.
    rule(Method::POST, APPLICATIONS, Needs::Root),
    rule(Method::PUT, APPLICATION, Needs::Key(Scope::Admin)),
    rule(Method::PATCH, APPLICATION, Needs::Key(Scope::Admin)),
    rule(Method::POST, KEYS, Needs::Key(Scope::Admin)),
    rule(Method::DELETE, KEY, Needs::Key(Scope::Admin)),
    rule(Method::POST, USER_TOKENS, Needs::MintingKey),
    rule(Method::DELETE, USER_TOKENS, Needs::Key(Scope::Admin)),
    rule(Method::POST, CHATS, Needs::Key(Scope::Write)),
    rule(Method::POST, MESSAGES, Needs::Chat(Scope::Write)),
    // Reads.
    rule(Method::GET, APPLICATIONS, Needs::AnyPrincipal),
    rule(Method::GET, APPLICATION, Needs::Application(Scope::Read)),
    rule(Method::GET, KEYS, Needs::Key(Scope::Admin)),
    rule(Method::GET, EVENTS, Needs::Application(Scope::Read)),
    rule(Method::GET, CHATS, Needs::Application(Scope::Read)),
    rule(Method::GET, CHAT, Needs::Chat(Scope::Read)),
    rule(Method::GET, MESSAGES, Needs::Chat(Scope::Read)),
    rule(Method::GET, SEARCH, Needs::Chat(Scope::Read)),
    rule(Method::GET, MESSAGE, Needs::Chat(Scope::Read)),
];

const fn rule(method: Method, route: &'static str, needs: Needs) -> Rule {
    Rule { method, route, needs }
}

/// The routes and methods of the read port: every GET. A scenario compares them with what each port says of itself.
pub fn reads() -> Vec<(&'static str, Method)> {
    routes(|method| *method == Method::GET)
}

/// The routes and methods of the write port.
pub fn writes() -> Vec<(&'static str, Method)> {
    routes(|method| *method != Method::GET)
}

fn routes(is_meant: impl Fn(&Method) -> bool) -> Vec<(&'static str, Method)> {
    RULES.iter().filter(|rule| is_meant(&rule.method)).map(|rule| (rule.route, rule.method.clone())).collect()
}

/// Returns the rule of a method of a route. HEAD is GET without the body.
pub fn find_rule(method: &Method, route: &str) -> Option<&'static Rule> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    RULES.iter().find(|rule| rule.route == route && rule.method == *method)
}

/// What the path of a request names. Where a parameter is malformed, nothing has such a path.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Target {
    pub(crate) token: Option<ApplicationToken>,
    pub(crate) chat: Option<ChatNumber>,
}

impl Rule {
    /// Whether the principal may send the request.
    ///
    /// Another application than the principal's is unknown to it. So is a chat that its token does not list. Nobody looks whether they
    /// exist, so the answer cannot tell.
    pub(crate) fn admit(&self, principal: &Principal, target: Target) -> Result<(), Refusal> {
        if let (Some(own), true) = (principal.application(), self.names_application()) {
            let named = target.token.ok_or(Refusal::UnknownPath)?;
            if named != own {
                return Err(self.unknown());
            }
        }
        match (self.needs, principal) {
            (Needs::MintingKey, Principal::Anonymous) => Err(Refusal::MintingKeyNeeded { is_credential_missing: true }),
            (Needs::MintingKey, Principal::Root) => Err(Refusal::MintingKeyNeeded { is_credential_missing: false }),
            // Without a credential only who uses an open server comes so far.
            (_, Principal::Anonymous | Principal::Root) | (Needs::AnyPrincipal, _) => Ok(()),
            (Needs::Root, _) => Err(Refusal::RootNeeded),
            (Needs::MintingKey, Principal::Key(grant)) => permit(grant.scope, Scope::Admin),
            (Needs::Key(needed) | Needs::Application(needed) | Needs::Chat(needed), Principal::Key(grant)) => {
                permit(grant.scope, needed)
            }
            (Needs::MintingKey, Principal::User(_)) => Err(Refusal::KeyNeeded(Scope::Admin)),
            (Needs::Key(needed), Principal::User(_)) => Err(Refusal::KeyNeeded(needed)),
            (Needs::Application(needed), Principal::User(grant)) => permit(grant.scope, needed),
            (Needs::Chat(needed), Principal::User(grant)) => {
                has_chat(&grant.chats, target.chat)?;
                permit(grant.scope, needed)
            }
        }
    }

    fn names_application(&self) -> bool {
        self.route.contains("{token}")
    }

    /// What does not exist for somebody who names another application: the nearest thing that the path leads to.
    fn unknown(&self) -> Refusal {
        if self.route.contains("{chat}") { Refusal::UnknownChat } else { Refusal::UnknownApplication }
    }
}

fn permit(held: Scope, needed: Scope) -> Result<(), Refusal> {
    if held.permits(needed) { Ok(()) } else { Err(Refusal::ScopeMissing(needed)) }
}

fn has_chat(chats: &Chats, named: Option<ChatNumber>) -> Result<(), Refusal> {
    let named = named.ok_or(Refusal::UnknownPath)?;
    if chats.have(named) { Ok(()) } else { Err(Refusal::UnknownChat) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_and_method_has_one_rule() {
        for rule in RULES {
            let found = find_rule(&rule.method, rule.route).unwrap();
            assert!(std::ptr::eq(found, rule), "{} {} has two rules", rule.method, rule.route);
        }
        assert_eq!(find_rule(&Method::HEAD, CHATS).map(|rule| rule.needs), Some(Needs::Application(Scope::Read)));
        assert!(find_rule(&Method::DELETE, CHATS).is_none());
    }
}
