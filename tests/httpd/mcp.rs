//! Client and server of the Model Context Protocol, of its own SDK, with the gate between them and a certified provider
//! beside: the client knows the address of the server alone, and finds the rest by what the gate tells it.

use serde_json::{Value, json};

use crate::harness::idp::{McpClient, McpServer, Oidc};
use crate::harness::{Server, Site};

struct World {
    oidc: Oidc,
    client: McpClient,
    server: Server,
    _application: McpServer,
}

impl World {
    /// The gate before the application at `/mcp`; at `/writers`, which belongs to the resource that is the whole server,
    /// and where more than the scope that clients are told of is needed; and at `/other`, where tokens of another
    /// resource are taken.
    fn start() -> Self {
        let (oidc, application, client) = (Oidc::start(None), McpServer::start(), McpClient::start());
        let issuer = &oidc.issuer;
        let place = |path: &str, resource: &str, issuer: &str, more: &str| {
            format!(
                "<Location \"{path}\">\nJwtGate on\nJwtGateIssuers {issuer}\nJwtGateForward X-User subject\n\
                 JwtGateResource http://127.0.0.1:${{PORT}}{resource} scopes=read\n{more}\n</Location>\n"
            )
        };
        let mut server = Site::new().start(&format!(
            "JwtGateIssuer here {issuer} audience=http://127.0.0.1:${{PORT}}/mcp,http://127.0.0.1:${{PORT}} \
             typ=at+jwt timeout=10s\n\
             JwtGateIssuer elsewhere {issuer} audience={} timeout=10s\n\
             RewriteEngine on\nRewriteRule \"^/(?:mcp|writers|other)$\" {} [P]\n{}{}{}",
            Oidc::resource("ES256"),
            application.url,
            place("/mcp", "/mcp", "here", ""),
            place("/writers", "", "here", "Require jwt-scope write"),
            place("/other", "/other", "elsewhere", ""),
        ));
        // The provider speaks plain http, and has a key of P-521, which is not among the algorithms that are usual.
        for line in ["JG2201", "JG2203"] {
            server.expect_log(line);
        }
        server.await_log("JG4001");
        Self { oidc, client, server, _application: application }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// What the SDK asks for until it has a token for `path` of the resource at `resource`: the gate, the document that
    /// the challenge names, and the provider.
    fn way_to_a_token(&self, path: &str, resource: &str) -> Vec<Value> {
        let at_provider = |path: &str| format!("{}{path}", self.oidc.issuer);
        vec![
            json!(["POST", self.url(path), 401]),
            json!(["GET", self.url(&format!("/.well-known/oauth-protected-resource{resource}")), 200]),
            json!(["GET", at_provider("/.well-known/oauth-authorization-server"), 200]),
            json!(["POST", at_provider("/reg"), 201]),
            json!(["POST", at_provider("/token"), 200]),
        ]
    }
}

/// These need what `make target/idp/node_modules` installs.
mod installed {
    use super::*;

    #[test]
    fn a_client_finds_the_way_to_a_token_and_calls_a_tool() {
        let world = World::start();
        let url = world.url("/mcp");
        let called = world.client.call(&url, "whoami");
        assert_eq!(called["text"], "alice", "{called:#}");
        assert_eq!(called["logins"], json!([{"resource": url, "scope": "read offline_access"}]));
        let requests = called["requests"].as_array().unwrap();
        let (found, used) = requests.split_at(5);
        assert_eq!(found, world.way_to_a_token("/mcp", "/mcp"));
        assert!(!used.is_empty() && used.iter().all(|request| request[1] == url), "{used:?}");
        assert!(used.iter().all(|request| request[2].as_u64().unwrap() < 300), "{used:?}");

        // The provider's tokens for another resource, and those of another kind, do not do.
        for (resource, reason) in [("ES256", "audience-mismatch"), ("opaque", "token-malformed")] {
            let token = world.oidc.token(&Oidc::resource(resource));
            world.server.refused(&world.server.request("POST", "/mcp").bearer(token), 401, reason);
        }
    }

    #[test]
    fn a_client_that_lacks_a_scope_asks_for_it_and_comes_again() {
        let mut world = World::start();
        // httpd's own words about a Require line that is not met.
        world.server.expect_log("AH01630");
        let url = world.url("/writers");
        let called = world.client.call(&url, "whoami");
        assert_eq!(called["text"], "alice", "{called:#}");
        let resource = world.url("");
        let login = |scope: &str| json!({"resource": resource, "scope": scope});
        assert_eq!(called["logins"], json!([login("read offline_access"), login("read offline_access write")]));
        assert!(world.server.log.count("scope-insufficient") > 0);
        let requests = called["requests"].as_array().unwrap();
        let way = world.way_to_a_token("/writers", "");
        assert_eq!(requests[..5], way);
        let refused = requests.iter().rposition(|request| *request == json!(["POST", url, 403])).unwrap();
        assert_eq!(requests[refused + 1..][..2], [way[4].clone(), json!(["POST", url, 200])], "{called:#}");
    }

    #[test]
    fn a_token_for_another_audience_opens_nothing() {
        let world = World::start();
        let called = world.client.call(&world.url("/other"), "whoami");
        assert!(called["error"].is_string() && called["text"].is_null(), "{called:#}");
        assert_eq!(called["requests"].as_array().unwrap()[..5], world.way_to_a_token("/other", "/other"));
        assert!(world.server.log.count("audience-mismatch") > 0);
        // That of the right one gets as far as the application, which misses the message in it.
        let token = world.oidc.token(&Oidc::resource("ES256"));
        assert_eq!(world.server.request("POST", "/other").bearer(token).status(), 400);
    }
}
