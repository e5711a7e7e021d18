//! The directives that exist. httpd's command table, `reference.conf` and the README are made or checked
//! from this list.

use std::ffi::CStr;

/// Where a directive may stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Context {
    /// Once for the whole server, outside of every section.
    Global,
    /// Server config and `<VirtualHost>`.
    Server,
    /// Also `<Location>`, `<LocationMatch>`, `<Proxy>`, `<Directory>`, `<If>`.
    Directory,
}

/// Which directive; the parsers are chosen by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // each is described by its row of the table
pub enum Directive {
    Gate,
    AddressPrefix,
    Allow,
    ApiKeys,
    Cors,
    Credentials,
    Deny,
    ErrorBody,
    Forward,
    ForwardCredentials,
    Issuer,
    Issuers,
    Limit,
    LimitHeaders,
    Lockout,
    Log,
    Network,
    Plan,
    Realm,
    Resource,
    Revocations,
    SharedMemory,
    StateDir,
    Token,
    TokenCache,
    Trace,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which one.
    pub directive: Directive,
    /// Its name; httpd ignores case.
    pub name: &'static CStr,
    /// Where it may stand.
    pub context: Context,
    /// One line for `httpd -L`.
    pub help: &'static CStr,
}

const fn row(directive: Directive, name: &'static CStr, context: Context, help: &'static CStr) -> Row {
    Row { directive, name, context, help }
}

/// All directives.
pub const DIRECTIVES: [Row; 26] = [
    row(Directive::Gate, c"JwtGate", Context::Directory, c"`on`, `off` or `dry-run`: whether requests are decided here"),
    row(
        Directive::AddressPrefix,
        c"JwtGateAddressPrefix",
        Context::Server,
        c"V4 V6: how many leading bits of an address count as one client in limits",
    ),
    row(
        Directive::Allow,
        c"JwtGateAllow",
        Context::Directory,
        c"[dry-run] [peer:]CIDR or [peer:]@NETWORK ...: addresses that may connect; or `none`",
    ),
    row(
        Directive::ApiKeys,
        c"JwtGateApiKeys",
        Context::Server,
        c"PATH of a JSON file with hashed API keys, made with `jwt-gate apikey`",
    ),
    row(
        Directive::Cors,
        c"JwtGateCors",
        Context::Directory,
        c"ORIGIN ... [methods=M,...] [headers=H,...] [expose=H,...] [max-age=TIME] [credentials=on]: pages of other origins that may use what is here; or `off`",
    ),
    row(
        Directive::Credentials,
        c"JwtGateCredentials",
        Context::Directory,
        c"`bearer`, `header:NAME`, `cookie:NAME`, `query:NAME`, `api-key:HEADER` ...: where the credential is looked for; or `bearer+api-key:HEADER`",
    ),
    row(
        Directive::Deny,
        c"JwtGateDeny",
        Context::Directory,
        c"[dry-run] [peer:]CIDR or [peer:]@NETWORK ...: addresses that may not connect; or `none`",
    ),
    row(
        Directive::ErrorBody,
        c"JwtGateErrorBody",
        Context::Directory,
        c"`problem` (RFC 9457 JSON) or `httpd` (the server's own page)",
    ),
    row(
        Directive::Forward,
        c"JwtGateForward",
        Context::Directory,
        c"HEADER VALUE: a header with a part of the identity for the application; or `none`",
    ),
    row(
        Directive::ForwardCredentials,
        c"JwtGateForwardCredentials",
        Context::Directory,
        c"`on` or `off`: whether the application receives the credential itself",
    ),
    row(
        Directive::Issuer,
        c"JwtGateIssuer",
        Context::Server,
        c"NAME ISSUER audience=A,... [discovery|jwks=URL|jwks=file:PATH|pem=PATH,...|secret=PATH,...]: an issuer and its keys",
    ),
    row(Directive::Issuers, c"JwtGateIssuers", Context::Directory, c"NAME ...: issuers accepted here"),
    row(
        Directive::Limit,
        c"JwtGateLimit",
        Context::Directory,
        c"NAME key=KEY rate=RATE [burst=N] [quota=N/day|week|month] [plan-claim=C] [default-plan=P] [exempt=@NETWORK] [dry-run]: a limit; or `none`",
    ),
    row(
        Directive::LimitHeaders,
        c"JwtGateLimitHeaders",
        Context::Directory,
        c"`on` or `off`: RateLimit and RateLimit-Policy on answers",
    ),
    row(
        Directive::Lockout,
        c"JwtGateLockout",
        Context::Directory,
        c"failures=N/TIME [block=TIME] [count=backend]: addresses that fail too often are refused; or `off`",
    ),
    row(
        Directive::Log,
        c"JwtGateLog",
        Context::Server,
        c"PATH or \"|PROGRAM\" [subject=plain]: a line of JSON for each request that was decided; or `off`",
    ),
    row(
        Directive::Network,
        c"JwtGateNetwork",
        Context::Server,
        c"NAME CIDR ... or NAME file=PATH [format=cidr|aws] [service=S,...] [region=R,...] [shrink=allow]: a named set of addresses",
    ),
    row(
        Directive::Plan,
        c"JwtGatePlan",
        Context::Server,
        c"NAME [rate=RATE] [burst=N] [quota=N/day|week|month]: a usage plan, from which limits take their numbers",
    ),
    row(Directive::Realm, c"JwtGateRealm", Context::Directory, c"TEXT: realm of the WWW-Authenticate challenge"),
    row(
        Directive::Resource,
        c"JwtGateResource",
        Context::Directory,
        c"URL [scopes=S,...] [documentation=URL] [name=TEXT]: what OAuth clients are told of the application; or `off`",
    ),
    row(
        Directive::Revocations,
        c"JwtGateRevocations",
        Context::Server,
        c"PATH of a JSON file with tokens, subjects, clients and sessions that are accepted no more",
    ),
    row(
        Directive::SharedMemory,
        c"JwtGateSharedMemory",
        Context::Global,
        c"SIZE of the memory in which limits are kept, like 16M",
    ),
    row(
        Directive::StateDir,
        c"JwtGateStateDir",
        Context::Global,
        c"PATH of the folder in which the module keeps what must outlive a restart",
    ),
    row(
        Directive::Token,
        c"JwtGateToken",
        Context::Directory,
        c"`required`, `optional` or `none`: whether a token is asked for",
    ),
    row(
        Directive::TokenCache,
        c"JwtGateTokenCache",
        Context::Server,
        c"ENTRIES: verified tokens remembered by each child process; 0 turns it off",
    ),
    row(
        Directive::Trace,
        c"JwtGateTrace",
        Context::Directory,
        c"`on` or `off`: whether each request belongs to a trace, for the application and the logs",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directive_has_one_row() {
        for (at, row) in DIRECTIVES.iter().enumerate() {
            assert_eq!(DIRECTIVES.iter().filter(|r| r.directive == row.directive).count(), 1, "{:?}", row.name);
            assert_eq!(DIRECTIVES.iter().position(|r| r.name == row.name), Some(at));
            assert!(row.name.to_bytes().starts_with(b"JwtGate"));
        }
    }
}
