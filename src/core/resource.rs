//! Protected resource metadata (RFC 9728): the document by which a client finds out where to get a token, and where
//! that document is.

use serde_json::{Map, Value};

use crate::config::credentials::Source;
use crate::config::resource::ResourceDef;
use crate::fetch::url::Url;
use crate::token::issuer::IssuerSet;

/// RFC 9728 section 3.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The parameter of RFC 6750 section 2.3. A token in another one is no method that clients know of.
const QUERY_PARAMETER: &str = "access_token";

impl ResourceDef {
    /// The resource identifier (RFC 9728 section 1.2), with scheme and host in lower case.
    pub fn identifier(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// The path of the document: the well-known one goes between host and path, and a slash alone is no path
    /// (RFC 9728 section 3.1).
    pub fn metadata_path(&self) -> String {
        let path = if self.path == "/" { "" } else { &self.path };
        format!("{WELL_KNOWN}{path}")
    }

    /// Where the document is, for the challenge (RFC 9728 section 5.1).
    pub fn metadata_url(&self) -> String {
        format!("{}{}", self.origin, self.metadata_path())
    }

    /// The document (RFC 9728 section 2), `application/json`: members in alphabetical order, those without a
    /// value left out (section 3.2).
    ///
    /// Authorization servers are those of `issuers` whose name is an address (RFC 8414 section 2), in the order
    /// of the configuration. Methods are those of RFC 6750 among `credentials`; if there are none, an empty list
    /// says so.
    pub fn metadata(&self, issuers: &IssuerSet, credentials: &[Source]) -> String {
        let servers = issuers.identifiers().into_iter().filter(|iss| is_server(iss));
        let methods = credentials.iter().filter_map(|source| match source {
            Source::Bearer => Some("header"),
            Source::Query(name) if **name == *QUERY_PARAMETER => Some("query"),
            Source::Header(_) | Source::Cookie(_) | Source::Query(_) | Source::ApiKey(_) => None,
        });
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        let servers: Vec<&str> = servers.collect();
        if !servers.is_empty() {
            put("authorization_servers", servers.into());
        }
        put("bearer_methods_supported", methods.collect::<Vec<_>>().into());
        put("resource", self.identifier().into());
        if let Some(page) = &self.documentation {
            put("resource_documentation", page.as_str().into());
        }
        if let Some(name) = &self.name {
            put("resource_name", name.as_str().into());
        }
        if !self.scopes.is_empty() {
            put("scopes_supported", self.scopes.clone().into());
        }
        Value::Object(document).to_string()
    }
}

/// Whether an issuer can be asked for its own metadata: an address without query and fragment.
fn is_server(iss: &str) -> bool {
    !iss.contains('?') && Url::parse(iss).is_ok()
}
