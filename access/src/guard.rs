//! The layer in front of the routes: it decides who makes a request and whether they may, and hands the handler a principal.
//!
//! [`guard`] puts it around the routes of an API. It returns an error if OpenAPI describes a route that has no rule. A route that OpenAPI
//! does not describe is not seen there; the layer answers 404 if it has no rule. So nobody gets at either.
//!
//! What needs no credential is added outside of the layer: health, documentation, preflights, the answers to other methods and other paths.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use percent_encoding::percent_decode_str;
use service::proxied::is_proxied;
use tower::{Layer, Service};
use utoipa_axum::router::OpenApiRouter;

use crate::authority::Authority;
use crate::config::AuthMode;
use crate::credential::{Sent, read_credential};
use crate::description::describe;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::rules::{Needs, Rule, Target, find_rule};

/// A route has no rule, so nobody has decided who may use it.
#[derive(Debug, thiserror::Error)]
#[error("{method} {route} has no rule in access::rules")]
pub struct WithoutRule {
    method: String,
    route: String,
}

/// Puts the layer around the routes, and describes what it does for OpenAPI.
///
/// # Errors
/// [`WithoutRule`]: a program that describes a route without a rule does not start.
pub fn guard(mut routes: OpenApiRouter, authority: &Authority) -> Result<OpenApiRouter, WithoutRule> {
    describe(routes.get_openapi_mut(), authority.mode())?;
    Ok(routes.layer(GuardLayer { authority: authority.clone() }))
}

impl WithoutRule {
    pub(crate) fn new(method: &str, route: &str) -> Self {
        Self { method: method.to_owned(), route: route.to_owned() }
    }
}

#[derive(Clone)]
struct GuardLayer {
    authority: Authority,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { authority: self.authority.clone(), inner }
    }
}

#[derive(Clone)]
struct Guard<S> {
    authority: Authority,
    inner: S,
}

type Boxed = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    /// Most requests are decided at once, without a box: they are passed on, or refused.
    type Future = Either<Either<S::Future, Ready<Result<Response, Infallible>>>, Boxed>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let decided = RequestedRoute::of(&request)
            .map(|requested| (requested, self.authority.decide_at_once(&request, requested)));
        match decided {
            Ok((requested, None)) => Either::Right(self.call_later(request, requested)),
            Ok((_, Some(Ok(principal)))) => {
                request.extensions_mut().insert(principal);
                Either::Left(Either::Left(self.inner.call(request)))
            }
            Ok((_, Some(Err(refusal)))) | Err(refusal) => Either::Left(Either::Right(ready(Ok(refuse(refusal))))),
        }
    }
}

impl<S> Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    /// Asks whose the credential is, and then passes the request on or refuses it.
    fn call_later(&mut self, mut request: Request, requested: RequestedRoute) -> Boxed {
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        let authority = self.authority.clone();
        let credential = match read_credential(request.headers()) {
            Sent::Credential(credential) => credential.to_owned(),
            Sent::Nothing | Sent::Malformed => String::new(),
        };
        Box::pin(async move {
            let identified = authority.identify(&credential).await;
            match identified
                .and_then(|principal| requested.rule.admit(&principal, requested.target).map(|()| principal))
            {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    ready.call(request).await
                }
                Err(refusal) => Ok(refuse(refusal)),
            }
        })
    }
}

impl Authority {
    /// Decides about a request; `None` if the projection has to be asked whose its credential is.
    fn decide_at_once(&self, request: &Request, requested: RequestedRoute) -> Option<Result<Principal, Refusal>> {
        if self.mode() == AuthMode::OpenOnLoopback && is_proxied(request.headers()) {
            return Some(Err(Refusal::Proxied));
        }
        let decided = match self.recall(read_credential(request.headers()))? {
            Err(Refusal::CredentialMissing) if requested.rule.needs == Needs::Root => Err(Refusal::RootKeyMissing),
            decided => decided,
        };
        Some(decided.and_then(|principal| requested.rule.admit(&principal, requested.target).map(|()| principal)))
    }
}

/// The rule of the route that a request asks for, and what its path names.
#[derive(Clone, Copy)]
struct RequestedRoute {
    rule: &'static Rule,
    target: Target,
}

impl RequestedRoute {
    fn of(request: &Request) -> Result<Self, Refusal> {
        // Other paths and methods are answered outside of this layer. A route without a rule is there for nobody.
        let route = request.extensions().get::<MatchedPath>().ok_or(Refusal::UnknownPath)?;
        let rule = find_rule(request.method(), route.as_str()).ok_or(Refusal::UnknownPath)?;
        let path = request.uri().path();
        let target = Target {
            token: path_parameter(route.as_str(), path, "{token}"),
            chat: path_parameter(route.as_str(), path, "{chat}"),
        };
        Ok(Self { rule, target })
    }
}

/// Parses a parameter of a path as its handler does.
fn path_parameter<T: FromStr>(route: &str, path: &str, name: &str) -> Option<T> {
    let (_, segment) = route.split('/').zip(path.split('/')).find(|(segment, _)| *segment == name)?;
    let text: Cow<'_, str> = percent_decode_str(segment).decode_utf8().ok()?;
    text.parse().ok()
}

fn refuse(refusal: Refusal) -> Response {
    refusal.into_problem().into_response()
}

#[cfg(test)]
mod tests {
    use events::{ApplicationToken, ChatNumber};
    use utoipa_axum::routes;

    use super::*;

    #[test]
    fn a_route_without_a_rule_is_refused() {
        #[utoipa::path(get, path = "/forgotten", responses((status = 200)))]
        async fn forgotten() {}

        let Err(without) = guard(OpenApiRouter::new().routes(routes!(forgotten)), &Authority::open()) else {
            panic!("nobody has decided who may use it");
        };
        assert_eq!(without.to_string(), "GET /forgotten has no rule in access::rules");
    }

    #[tokio::test]
    async fn a_route_that_has_neither_a_description_nor_a_rule_is_there_for_nobody() {
        let routes = OpenApiRouter::new().route("/forgotten", axum::routing::get(async || "shown"));
        let mut routes: axum::Router = guard(routes, &Authority::open()).unwrap().into();
        let request = Request::get("/forgotten").body(axum::body::Body::empty()).unwrap();
        assert_eq!(routes.call(request).await.unwrap().status(), 404);
    }

    #[test]
    fn parameters_are_read_from_the_path() {
        const ROUTE: &str = "/a/{token}/chats/{chat}/messages";
        let token = "0123456789abcdef0123456789abcdef";
        let path = format!("/a/{token}/chats/7/messages");
        assert_eq!(path_parameter(ROUTE, &path, "{token}"), token.parse::<ApplicationToken>().ok());
        assert_eq!(path_parameter(ROUTE, &path, "{chat}"), ChatNumber::new(7));
        assert_eq!(path_parameter(ROUTE, "/a/x/chats/%37/messages", "{chat}"), ChatNumber::new(7));
        for chat in ["07", "+7", "%ff", "7%2f", ""] {
            let path = format!("/a/{token}/chats/{chat}/messages");
            assert_eq!(path_parameter::<ChatNumber>(ROUTE, &path, "{chat}"), None, "{chat}");
        }
    }
}
