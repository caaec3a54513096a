//! Describes for OpenAPI what the layer in front of the routes asks for, and how it refuses.

use events::Scope;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, Header, OpenApi, PathItem, Ref, ResponseBuilder};

use axum::http::Method;

use crate::config::AuthMode;
use crate::guard::WithoutRule;
use crate::rules::{Needs, find_rule};

const KEY: &str = "key";
const USER_TOKEN: &str = "user_token";
const ROOT_KEY: &str = "root_key";
/// When 403 is answered.
const FORBIDDEN: &str = "The credential does not permit this; or the server is open for its own machine alone, and the request came \
                         through a proxy";

/// Adds the schemes of credentials, and to each operation those that it takes and the ways in which it refuses others.
///
/// # Errors
/// [`WithoutRule`] for an operation that has no rule.
pub(crate) fn describe(document: &mut OpenApi, mode: AuthMode) -> Result<(), WithoutRule> {
    for (route, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let rule = find_rule(&method, route).ok_or_else(|| WithoutRule::new(method.as_str(), route))?;
            operation.security = Some(requirements(rule.needs, mode));
            let responses = &mut operation.responses.responses;
            responses.insert("401".to_owned(), refusal("No credential, or one that is not valid").into());
            responses.insert("403".to_owned(), refusal(FORBIDDEN).into());
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    for (name, format, description) in [
        (KEY, "tally_…", "The secret of a key of the application"),
        (USER_TOKEN, "JWT", "A token that a key of the application has minted for a user"),
        (ROOT_KEY, "opaque", "The root key of the server"),
    ] {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(format);
        components.add_security_scheme(name, SecurityScheme::Http(scheme.description(Some(description)).build()));
    }
    Ok(())
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, delete, options, head, patch, trace, .. } = item;
    [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::DELETE, delete),
        (Method::OPTIONS, options),
        (Method::HEAD, head),
        (Method::PATCH, patch),
        (Method::TRACE, trace),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Each of these is enough. The names in a requirement are the scopes that the credential needs.
fn requirements(needs: Needs, mode: AuthMode) -> Vec<SecurityRequirement> {
    let with = |scheme, scope: Option<Scope>| SecurityRequirement::new(scheme, scope.map(Scope::name));
    let mut requirements = match needs {
        Needs::Root => vec![with(ROOT_KEY, None)],
        Needs::MintingKey => vec![with(KEY, Some(Scope::Admin))],
        Needs::Key(scope) => vec![with(KEY, Some(scope)), with(ROOT_KEY, None)],
        Needs::Application(scope) | Needs::Chat(scope) => {
            vec![with(KEY, Some(scope)), with(USER_TOKEN, Some(scope)), with(ROOT_KEY, None)]
        }
        Needs::AnyPrincipal => vec![with(KEY, None), with(USER_TOKEN, None), with(ROOT_KEY, None)],
    };
    if mode.is_open() && needs != Needs::MintingKey {
        // An empty requirement: no credential is enough, too.
        requirements.push(SecurityRequirement::default());
    }
    requirements
}

fn refusal(description: &str) -> ResponseBuilder {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut challenge = Header::default();
    challenge.description = Some("What to send (RFC 6750)".to_owned());
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", problem)
        .header("WWW-Authenticate", challenge)
}
