//! `jwt-gate apikey`: makes, lists and revokes API keys.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jwt_gate_core::apikey::compile;
use jwt_gate_core::apikey::format::ApiKeyText;
use jwt_gate_core::time::UnixMicros;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::key_file::{Content, LockedFile};
use crate::moment::now;
use crate::note;
use crate::screen::{show, show_json};
use crate::table;
use crate::writers;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key, add its hash to the file, and print the key this once
    New(New),
    /// List the keys of the file
    List(List),
    /// Remove a key from the file
    Revoke(Revoke),
}

#[derive(Args)]
pub(crate) struct New {
    /// File of JwtGateApiKeys; it is made if there is none
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
    /// Name of the key, for logs, limits and the application
    #[arg(long)]
    id: String,
    /// Its usage plan, the NAME of a JwtGatePlan
    #[arg(long)]
    plan: Option<String>,
    /// A scope of it; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// From where it may be used, a CIDR or @NAME of a JwtGateNetwork; may be repeated [default: everywhere]
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// From when on it may be used, like 2026-08-05T14:30:00Z
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// From when on it may be used no more
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

#[derive(Args)]
pub(crate) struct List {
    /// File of JwtGateApiKeys
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Revoke {
    /// File of JwtGateApiKeys
    #[arg(long, value_name = "PATH")]
    file: PathBuf,
    /// Name of the key
    #[arg(long)]
    id: String,
}

pub(crate) fn run(command: &Command) -> Result<Answer, Failure> {
    let file = match command {
        Command::New(new) => new.run().map(|()| &new.file),
        Command::List(list) => list.run().map(|()| &list.file),
        Command::Revoke(revoke) => revoke.run().map(|()| &revoke.file),
    }?;
    if let Some(why) = writers::everybody(file) {
        note(&why);
    }
    Ok(Answer::Yes)
}

impl New {
    fn run(&self) -> Result<(), Failure> {
        let mut random = [0; 32];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Failure::unusable("the system has no random numbers".to_owned()))?;
        let key = ApiKeyText::new(random);
        let entry = self.entry(&key.sha256());
        self.check(&entry)?;

        let file = LockedFile::open_or_new(&self.file)?;
        let (id, shown) = (&self.id, self.file.display());
        let mut entries = file.entries()?;
        if entries.iter().any(|entry| entry.is(id)) {
            return Err(Failure::no(format!(
                "{shown} has a key `{id}` already: give the new one another id, or revoke the old one first"
            )));
        }
        entries.push(entry.as_str().into());
        // Whoever has the key shall find it in the file, and no key is in the file that nobody was shown. So it is
        // shown between what can well fail, the writing of a draft, and what hardly can.
        let draft = file.draft(&entries)?;
        let mut out = stdout().lock();
        writeln!(out, "{}", key.as_str())
            .and_then(|()| out.flush())
            .map_err(|why| Failure::unusable(format!("the key cannot be shown, and was not added: {why}")))?;
        draft.put_in_place()?;
        note(&format!("`{id}` was added to {shown}; its key is shown only this once"));
        if file.is_new() {
            note(&format!(
                "{shown} is new: let the group of the server's user have it (`chgrp www-data {shown}`), or changes are \
                 picked up at `apachectl graceful` only"
            ));
        }
        Ok(())
    }

    /// As it stands in the file.
    fn entry(&self, sha256: &str) -> String {
        let text = |text: &String| Value::from(text.as_str());
        let list = |texts: &Vec<String>| Some(Value::from(texts.as_slice())).filter(|_| !texts.is_empty());
        let members = [
            ("id", Some(text(&self.id))),
            ("sha256", Some(Value::from(sha256))),
            ("plan", self.plan.as_ref().map(text)),
            ("scopes", list(&self.scopes)),
            ("networks", list(&self.networks)),
            ("not_before", self.not_before.as_ref().map(text)),
            ("expires", self.expires.as_ref().map(text)),
        ];
        let members = members.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\":{}", value?)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// Whether this can be an entry at all, before a file is looked at.
    fn check(&self, entry: &str) -> Result<(), Failure> {
        compile(format!("{{\"keys\":[{entry}]}}").as_bytes()).map_err(|why| {
            let why = why.strip_prefix("line 1: ").unwrap_or(&why);
            Failure::unusable(format!("no such key can be made: {why}"))
        })?;
        match &self.expires {
            Some(text) if State::at(now(), None, Some(text)) == State::Expired => {
                Err(Failure::unusable(format!("no such key can be made: \"expires\": {text:?} has passed already")))
            }
            _ => Ok(()),
        }
    }
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let content = Content::read(&self.file)?;
        let now = now();
        let entries: Vec<_> = content.entries()?.iter().map(|entry| listed(&entry.value(), now)).collect();
        if self.json { show_json(&json!({ "keys": entries })) } else { show(&table(&entries)) }
    }
}

impl Revoke {
    fn run(&self) -> Result<(), Failure> {
        let file = LockedFile::open(&self.file)?;
        let (id, shown) = (&self.id, self.file.display());
        let entries = file.entries()?;
        let before = entries.len();
        let left: Vec<_> = entries.into_iter().filter(|entry| !entry.is(id)).collect();
        if left.len() == before {
            return Err(Failure::no(format!("{shown} has no key {id:?}: `jwt-gate apikey list` shows which it has")));
        }
        file.draft(&left)?.put_in_place()?;
        note(&format!(
            "`{id}` was removed from {shown}; a running server notices within ten seconds if its user can read the file, \
             else at `apachectl graceful`"
        ));
        Ok(())
    }
}

/// Whether a key may be used, as far as times are concerned.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Active,
    Expired,
    NotYetValid,
}

impl State {
    /// For times as they stand in a file that was found good.
    fn at(now: UnixMicros, not_before: Option<&str>, expires: Option<&str>) -> Self {
        let time = |text: Option<&str>| text.and_then(|text| UnixMicros::from_rfc3339(text).ok());
        if time(not_before).is_some_and(|from| now < from) {
            Self::NotYetValid
        } else if time(expires).is_some_and(|to| to <= now) {
            Self::Expired
        } else {
            Self::Active
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
        }
    }
}

/// An entry as it is shown: with its state, and without its hash.
fn listed(entry: &Value, now: UnixMicros) -> Value {
    let mut listed = entry.clone();
    let state = State::at(now, entry["not_before"].as_str(), entry["expires"].as_str());
    if let Some(members) = listed.as_object_mut() {
        members.remove("sha256");
        members.insert("state".to_owned(), state.name().into());
    }
    listed
}

/// A line for each, in columns. All texts of an entry are visible ASCII.
fn table(entries: &[Value]) -> String {
    const COLUMNS: [(&str, &str); 7] = [
        ("ID", "id"),
        ("STATE", "state"),
        ("PLAN", "plan"),
        ("SCOPES", "scopes"),
        ("NETWORKS", "networks"),
        ("NOT BEFORE", "not_before"),
        ("EXPIRES", "expires"),
    ];
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(texts) if !texts.is_empty() => {
            texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        _ => "-".to_owned(),
    };
    let mut rows = vec![COLUMNS.map(|(title, _)| title.to_owned())];
    rows.extend(entries.iter().map(|entry| COLUMNS.map(|(_, member)| cell(&entry[member]))));
    table::lines(&rows).iter().map(|line| format!("{line}\n")).collect()
}
