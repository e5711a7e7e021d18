//! From a directive's words to the settings of its section or server.

use std::any::Any;
use std::sync::Arc;

use jwt_gate_core::config::credentials::{self, TokenMode};
use jwt_gate_core::config::directive::Directive;
use jwt_gate_core::config::section::{self, ErrorBody, Mode};
use jwt_gate_core::config::server::MAX_TOKEN_CACHE;
use jwt_gate_core::config::{address, cors, forward, issuer, limit, lockout, log, network, parse, plan, resource};
use jwt_gate_core::limit::Geometry;
use jwt_gate_core::net::address::AddressPrefix;

use crate::httpd::{Command, Expression, Target};

/// Reads one directive into its target.
///
/// # Errors
/// Text for the administrator, without the directive's name.
pub(crate) fn read(
    directive: Directive,
    words: &[&str],
    command: &Command<'_>,
    Target { section, server }: Target<'_>,
) -> Result<(), String> {
    if section.origin.line == 0 {
        section.origin = command.origin();
    }
    match directive {
        Directive::Gate => {
            let modes = [("on", Mode::On), ("off", Mode::Off), (parse::DRY_RUN, Mode::DryRun)];
            section.mode = Some(parse::one_of(one(words)?, &modes)?);
        }
        Directive::Token => section.token = Some(TokenMode::parse(one(words)?)?),
        Directive::Credentials => section.credentials = Some(credentials::parse(words)?),
        Directive::Issuers => section.issuers = Some(issuers(words)?),
        Directive::Allow => {
            let address::Directive { dry_run, items } = address::parse(words)?;
            match (items, &mut section.addresses(dry_run).allow) {
                (Some(items), Some(known)) => known.extend(items),
                (items, allow) => *allow = Some(items.unwrap_or_default()),
            }
        }
        Directive::Deny => {
            let address::Directive { dry_run, items } = address::parse(words)?;
            section.addresses(dry_run).deny.add(items);
        }
        Directive::Lockout => set_once(&mut section.lockout, lockout::parse(words)?)?,
        Directive::Cors => set_once(&mut section.cors, cors::parse(words)?.map(Arc::new))?,
        Directive::Limit => {
            let limit = limit::parse(words)?.map(|limit| vec![(command.origin(), Arc::new(limit))]);
            section.limits.add(limit);
        }
        Directive::LimitHeaders => section.limit_headers = Some(parse::switch(one(words)?)?),
        Directive::Forward => {
            let compile = |text: &str| {
                let compiled: Arc<dyn Any + Send + Sync> = Arc::new(Expression::compile(command, text)?);
                Ok(compiled)
            };
            let forward = forward::parse(words, compile)?.map(|forward| vec![Arc::new(forward)]);
            section.forward.add(forward);
        }
        Directive::ForwardCredentials => section.forward_credentials = Some(parse::switch(one(words)?)?),
        Directive::Realm => section.realm = Some(section::realm(words)?),
        Directive::Resource => set_once(&mut section.resource, resource::parse(words)?.map(Arc::new))?,
        Directive::ErrorBody => {
            let bodies = [("problem", ErrorBody::Problem), ("httpd", ErrorBody::Httpd)];
            section.error_body = Some(parse::one_of(one(words)?, &bodies)?);
        }
        Directive::Issuer => server.add_issuer(command.origin(), issuer::parse(words)?)?,
        Directive::Plan => server.add_plan(command.origin(), plan::parse(words)?)?,
        Directive::Network => server.add_network(command.origin(), network::parse(words)?)?,
        Directive::AddressPrefix => match words {
            [v4, v6] => server.prefix = Some(AddressPrefix::parse(v4, v6)?),
            _ => return Err("takes two numbers of bits, for IPv4 and IPv6: write `32 64`".to_owned()),
        },
        Directive::TokenCache => server.token_cache = Some(token_cache(one(words)?)?),
        Directive::SharedMemory => server.shared_memory = Some(shared_memory(one(words)?)?),
        Directive::StateDir => server.state_dir = Some(path(words)?),
        Directive::ApiKeys => server.api_keys = Some(path(words)?),
        Directive::Revocations => server.revocations = Some(path(words)?),
        Directive::Log => set_once(&mut server.log, log::parse(words)?.map(Arc::new))?,
        Directive::Trace => section.trace = Some(parse::switch(one(words)?)?),
    }
    Ok(())
}

/// Settings that several directives of one section or server would contradict each other in.
fn set_once<T>(setting: &mut Option<T>, value: T) -> Result<(), String> {
    if setting.is_some() {
        return Err(
            "is there twice in the same section or virtual host: write all into one, or leave one out".to_owned()
        );
    }
    *setting = Some(value);
    Ok(())
}

fn one<'w>(words: &[&'w str]) -> Result<&'w str, String> {
    match words {
        [word] => Ok(word),
        [] => Err("needs a value".to_owned()),
        [_, extra, ..] => Err(format!("takes one value: leave `{extra}` out")),
    }
}

/// A path. An empty one would be the ServerRoot itself.
fn path(words: &[&str]) -> Result<String, String> {
    match one(words)? {
        "" => Err("the path is empty: write one".to_owned()),
        path => Ok(path.to_owned()),
    }
}

fn issuers(words: &[&str]) -> Result<Vec<String>, String> {
    if words.is_empty() {
        return Err("names no issuer: write the names of one or more JwtGateIssuer".to_owned());
    }
    let mut names: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        let name = parse::name("an issuer", word)?;
        if names.contains(&name) {
            return Err(format!("`{name}` is named twice: leave one out"));
        }
        names.push(name);
    }
    Ok(names)
}

fn token_cache(word: &str) -> Result<usize, String> {
    parse::number(word)
        .ok()
        .and_then(|entries| usize::try_from(entries).ok())
        .filter(|entries| *entries <= MAX_TOKEN_CACHE)
        .ok_or_else(|| format!("`{word}` is not a whole number from 0 (off) to {MAX_TOKEN_CACHE}"))
}

fn shared_memory(word: &str) -> Result<u64, String> {
    let bytes = parse::size(word)?;
    Geometry::for_bytes(bytes).map(|_| bytes)
}
