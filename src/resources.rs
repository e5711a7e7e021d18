//! The documents about protected resources (RFC 9728) that each server has. They are made of the configuration alone,
//! so they are written once.

use std::collections::HashMap;
use std::sync::Arc;

use jwt_gate_core::config::cors;
use jwt_gate_core::config::credentials::TokenMode;
use jwt_gate_core::config::resource::ResourceDef;
use jwt_gate_core::config::section::{Mode, Section, begins};
use jwt_gate_core::config::server::ServerTables;

use crate::check::named_tables;
use crate::httpd::Server;

/// Documents by the path under which they are served.
pub(crate) type Documents = HashMap<String, String>;

/// The documents of `server`, with those that it inherits from the main server; and what is wrong with the others.
///
/// Two virtual hosts have documents of their own, each for what its sections say; the host in the URL of a
/// `JwtGateResource` is for clients and is not compared.
pub(crate) fn documents(main: Server<'_>, server: Server<'_>) -> (Documents, Vec<String>) {
    let inherited = if server.is_virtual() { main.own_sections() } else { Vec::new() };
    let own_from = inherited.len();
    let mut sections: Vec<_> = inherited.into_iter().chain(server.own_sections()).enumerate().collect();
    // As httpd merges them: first what stands outside of all sections.
    sections.sort_by_key(|(_, section)| section.path.is_some());
    if !sections.iter().any(|(_, section)| matches!(section.resource, Some(Some(_)))) {
        return Default::default();
    }
    let tables = named_tables(server);
    let (mut documents, mut mistakes) = (HashMap::new(), Vec::new());
    for &(index, holder) in &sections {
        let Some(Some(def)) = &holder.resource else { continue };
        let covering: Vec<&Section> =
            sections.iter().map(|(_, section)| *section).filter(|section| covers(section, holder, def)).collect();
        let in_force = covering.iter().rev().find_map(|section| section.resource.as_ref());
        if !in_force.is_some_and(|found| found.as_ref().is_some_and(|found| Arc::ptr_eq(found, def))) {
            continue;
        }
        let of = |why: String| {
            format!("JwtGateResource {} (section that begins in {}): {why}", def.identifier(), holder.origin)
        };
        let document = match document(def, &covering, &tables) {
            Ok(document) => document,
            Err(why) => {
                mistakes.push(of(format!("{why}: choose with JwtGateIssuers which one is accepted there")));
                continue;
            }
        };
        let is_own = index >= own_from;
        match documents.get(&def.metadata_path()) {
            Some((other, own)) if *own == is_own && *other != document => mistakes.push(of(format!(
                "another section says something else about {}: make them equal, or give one another path",
                def.metadata_path()
            ))),
            // What a virtual host says itself takes the place of what it inherits.
            Some((_, true)) if !is_own => {}
            _ => drop(documents.insert(def.metadata_path(), (document, is_own))),
        }
    }
    (documents.into_iter().map(|(path, (document, _))| (path, document)).collect(), mistakes)
}

fn document(def: &ResourceDef, sections: &[&Section], tables: &ServerTables) -> Result<String, String> {
    let issuers = sections.iter().rev().find_map(|section| section.issuers.as_deref());
    let credentials = sections.iter().rev().find_map(|section| section.credentials.clone()).unwrap_or_default();
    Ok(def.metadata(&tables.accepted(issuers)?, &credentials.sources))
}

/// Whether what `section` says applies to the resource that `holder` describes: it stands outside of all sections, or
/// its path begins that of the holder (of the resource, if the holder has no plain path).
fn covers(section: &Section, holder: &Section, def: &ResourceDef) -> bool {
    let Some(above) = section.path.as_deref() else { return true };
    let of_resource = if def.path.is_empty() { "/" } else { &def.path };
    let path = holder.path.as_deref().filter(|path| path.starts_with('/')).unwrap_or(of_resource);
    std::ptr::eq(section, holder) || begins(above, path)
}

/// What is said of the documents' own paths behind everything else: they are for everybody whose address and rate are
/// accepted, without token, and for the pages of all origins.
pub(crate) fn open_section() -> Section {
    let everybody = cors::parse(&["*", "methods=GET,HEAD", "headers=*"]);
    Section {
        mode: Some(Mode::On),
        token: Some(TokenMode::None),
        issuers: Some(Vec::new()),
        cors: Some(everybody.ok().flatten().map(Arc::new)),
        resource: Some(None),
        ..Section::default()
    }
}
