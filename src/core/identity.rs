//! Who sent a request, as far as credentials prove it.

use std::sync::Arc;

use crate::apikey::ApiKey;
use crate::config::plan::PlanDef;
use crate::token::Verified;
use crate::token::json::Json;

/// A token, an API key, or both: then the token says who, and the key with which plan. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    proof: Proof,
    plan: Option<Arc<PlanDef>>,
}

#[derive(Clone, Debug)]
enum Proof {
    Token(Arc<Verified>),
    Key(Arc<ApiKey>),
    Both(Arc<Verified>, Arc<ApiKey>),
}

impl Identity {
    /// Of who sent this token.
    pub const fn of_token(token: Arc<Verified>) -> Self {
        Self { proof: Proof::Token(token), plan: None }
    }

    /// Of who sent this API key.
    pub const fn of_key(key: Arc<ApiKey>) -> Self {
        Self { proof: Proof::Key(key), plan: None }
    }

    /// Of who sent this token, with this API key.
    pub const fn of_both(token: Arc<Verified>, key: Arc<ApiKey>) -> Self {
        Self { proof: Proof::Both(token, key), plan: None }
    }

    /// With this plan.
    #[must_use]
    pub fn with_plan(self, plan: Option<Arc<PlanDef>>) -> Self {
        Self { plan, ..self }
    }

    /// The token, if one was sent.
    pub const fn token(&self) -> Option<&Arc<Verified>> {
        match &self.proof {
            Proof::Token(token) | Proof::Both(token, _) => Some(token),
            Proof::Key(_) => None,
        }
    }

    /// The API key, if one was sent.
    pub const fn key(&self) -> Option<&Arc<ApiKey>> {
        match &self.proof {
            Proof::Key(key) | Proof::Both(_, key) => Some(key),
            Proof::Token(_) => None,
        }
    }

    /// The usage plan of the request.
    pub fn plan(&self) -> Option<&str> {
        self.plan.as_ref().map(|plan| plan.name.as_str())
    }

    /// The subject of the token; where there is none, the id of the API key.
    pub fn subject(&self) -> Option<&str> {
        match &self.proof {
            Proof::Token(token) | Proof::Both(token, _) => token.subject(),
            Proof::Key(key) => Some(key.id()),
        }
    }

    /// The administrator's name of the token's issuer.
    pub fn issuer(&self) -> Option<&str> {
        self.token().map(|token| token.issuer().name.as_str())
    }

    /// The client that the token was given to.
    pub fn client(&self) -> Option<&str> {
        self.token()?.client()
    }

    /// The scopes of the token; where there is none, those of the API key.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let key = match &self.proof {
            Proof::Key(key) => Some(key),
            Proof::Token(_) | Proof::Both(..) => None,
        };
        let of_token = self.token().into_iter().flat_map(|token| token.scopes());
        of_token.chain(key.into_iter().flat_map(|key| key.scopes()))
    }

    /// The groups of the token.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.token().into_iter().flat_map(|token| token.groups())
    }

    /// A claim of the token.
    pub fn claim(&self, name: &str) -> Option<&Json<'static>> {
        self.token()?.claim(name)
    }
}
