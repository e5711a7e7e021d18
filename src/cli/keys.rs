//! `jwt-gate keys`: what the server keeps in the folder of `JwtGateStateDir`.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet, Family};
use jwt_gate_core::apikey::ApiKeyList;
use jwt_gate_core::keys::set;
use jwt_gate_core::keys::stored::StoredSet;
use jwt_gate_core::limit::{SlotTable, TableKind};
use jwt_gate_core::net::list::NetworkList;
use jwt_gate_core::revocation::RevocationList;
use jwt_gate_core::sync::AtomicU64;
use jwt_gate_core::time::{Now, UnixMicros};
use jwt_gate_core::token::json::Json;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::file::read_regular;
use crate::moment;
use crate::screen::{Paint, Tone, show, show_json, visible};
use crate::table;

/// As the server reads key sets.
const MOST_KEYS: u64 = 2 * set::MAX_BYTES as u64;
/// Longer lists and tables are not looked into.
const MOST: u64 = 1 << 30;

#[derive(Subcommand)]
pub(crate) enum Command {
    Show(Show),
}

/// Show the fetched keys, the compiled lists and the table of quotas
///
/// Changes nothing, and may be used while the server runs. A key is called usable if some algorithm can use it; the
/// server takes it only for those of `algorithms=` of its issuer.
///
/// What an earlier configuration named stays in the folder, and is shown like everything else: what the present one names
/// is not known here. A compiled list names its file by the SHA-256 of what was in it; compare that with `sha256sum`.
#[derive(Args)]
#[command(after_help = "\
Ends with 0 if every file is as the server writes it, with 2 if one is not, or if the folder cannot be read.

Examples:
  sudo jwt-gate keys show
  sudo jwt-gate keys show --json | jq '.files[] | select(.kind == \"keys\") | .fetched'")]
pub(crate) struct Show {
    /// The folder, as in JwtGateStateDir
    #[arg(long, value_name = "PATH", default_value = "/var/lib/apache2/jwt_gate")]
    state_dir: PathBuf,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::Show(show) => show.run(),
    }
}

impl Show {
    fn run(&self) -> Result<Answer, Failure> {
        let shown = visible(&self.state_dir.display().to_string());
        let failed = |why: io::Error| {
            let remedy = match why.kind() {
                ErrorKind::PermissionDenied => "run this as root",
                _ => "name the folder of JwtGateStateDir with --state-dir",
            };
            Failure::unusable(format!("{shown} cannot be read: {why}; {remedy}"))
        };
        let folder = fs::metadata(&self.state_dir).map_err(failed)?;
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.state_dir).map_err(failed)? {
            names.insert(entry.map_err(failed)?.file_name());
        }
        let now = moment::now();
        let mut files = Vec::new();
        for name in names {
            let path = self.state_dir.join(&name);
            let name = name.to_string_lossy();
            let Some(kind) = Kind::of(&name) else {
                files.push(json!({ "file": name, "kind": "other" }));
                continue;
            };
            files.push(match kind.examine(&path, &folder, now) {
                Ok(mut found) => {
                    found["file"] = Value::from(&*name);
                    found
                }
                Err(why) => json!({ "file": name, "kind": "unusable", "problem": why }),
            });
        }
        let bad = files.iter().filter(|file| file["problem"].is_string()).count();
        if self.json {
            show_json(&json!({ "folder": self.state_dir.to_string_lossy(), "files": files }))?;
        } else {
            let paint = Paint::for_output();
            let mut text: String = files.iter().map(|file| describe(file, paint, now)).collect();
            if files.is_empty() {
                text = format!("{shown} is empty\n");
            }
            show(&text)?;
        }
        match bad {
            0 => Ok(Answer::Yes),
            bad => {
                let all = files.len();
                Err(Failure::unusable(format!(
                    "{shown}: {bad} of {all} files cannot be used; the server passes over them"
                )))
            }
        }
    }
}

/// What a file is, as its name says.
#[derive(Clone, Copy)]
enum Kind {
    Keys,
    List,
    Quotas,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        match name {
            "quotas.table" => Some(Self::Quotas),
            _ if name.ends_with(".keys") => Some(Self::Keys),
            _ if name.ends_with(".list") => Some(Self::List),
            _ => None,
        }
    }

    /// What is in it, or why the server would not use it.
    fn examine(self, path: &Path, folder: &Metadata, now: UnixMicros) -> Result<Value, String> {
        let most = match self {
            Self::Keys => MOST_KEYS,
            Self::List | Self::Quotas => MOST,
        };
        // What is too long is not read for that.
        let length = fs::symlink_metadata(path).map_err(|why| format!("cannot be read: {why}"))?.len();
        if length > most {
            return Err(format!("has {length} bytes, and is not looked into if it has more than {most}"));
        }
        let read = read_regular(path, OFlags::NOFOLLOW, most);
        let (bytes, metadata) = read.map_err(|why| format!("cannot be read: {why}"))?;
        if bytes.len() as u64 > most {
            return Err(format!("is longer than {most} bytes"));
        }
        if metadata.mode() & 0o022 != 0 || ![folder.uid(), 0].contains(&metadata.uid()) {
            return Err(format!(
                "can be written by others than the server (user {}, mode {:o}): remove it",
                metadata.uid(),
                metadata.mode() & 0o7777
            ));
        }
        let mut value = match self {
            Self::Keys => keys(&bytes)?,
            Self::List => list(bytes)?,
            Self::Quotas => quotas(&bytes, now)?,
        };
        if let Ok(time) = metadata.modified() {
            let time = moment::of(time);
            value["written"] = moment::rfc3339(time).into();
            value["written_age_seconds"] = age(time, now).into();
        }
        Ok(value)
    }
}

/// Seconds; negative for what is still to come.
fn age(time: UnixMicros, now: UnixMicros) -> i64 {
    let seconds = |time: UnixMicros| i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
    seconds(now) - seconds(time)
}

/// A file of the keys of one issuer.
fn keys(bytes: &[u8]) -> Result<Value, String> {
    let stored = StoredSet::examine(bytes)?;
    let public: AlgorithmSet = Algorithm::ALL.into_iter().filter(|a| a.family() != Family::Hmac).collect();
    let entries = set::examine_jwks(&stored.jwks, public)?;
    let entry = |entry: &set::Entry| {
        let text = |name: &str| entry.json.member(name).and_then(Json::as_str);
        json!({
            "kid": text("kid"),
            "kty": text("kty"),
            "alg": text("alg"),
            "use": text("use"),
            "curve": text("crv"),
            "bits": text("n").and_then(bits),
            "problem": entry.key.as_ref().err(),
        })
    };
    let mut value = json!({
        "kind": "keys",
        "from": stored.from,
        "fetched": moment::rfc3339(stored.fetched),
        "fetched_us": stored.fetched.0,
        "keys": entries.iter().map(entry).collect::<Vec<_>>(),
    });
    // Keys that are good one by one can be too many.
    value["problem"] = set::from_jwks(&stored.jwks, public).err().into();
    Ok(value)
}

/// How long a modulus is.
fn bits(modulus: &str) -> Option<u64> {
    let octets = BASE64_URL_SAFE_NO_PAD.decode(modulus).ok()?;
    let octets = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    Some(octets.len() as u64 * 8 - octets.first().map_or(0, |first| u64::from(first.leading_zeros())))
}

/// A compiled list of whatever kind.
fn list(bytes: Vec<u8>) -> Result<Value, String> {
    let bytes = Arc::new(bytes);
    let digest = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let opened = [
        RevocationList::open(bytes.clone()).map(|list| {
            json!({
                "kind": "revocations",
                "entries": list.len(),
                "issuers": list.issuers().collect::<Vec<_>>(),
                "source_sha256": digest(list.source_digest()),
            })
        }),
        ApiKeyList::open(bytes.clone()).map(|list| {
            json!({
                "kind": "api-keys",
                "entries": list.len(),
                "plans": list.plans().collect::<Vec<_>>(),
                "networks": list.network_names().collect::<Vec<_>>(),
                "source_sha256": digest(list.source_digest()),
            })
        }),
        NetworkList::open(bytes).map(|list| {
            json!({
                "kind": "networks",
                "entries": list.len(),
                "source_sha256": digest(list.source_digest()),
            })
        }),
    ];
    // Each says of the others' lists that they are none.
    let own = |result: &Result<_, String>| !result.as_ref().is_err_and(|why| why.starts_with("this is no"));
    opened.into_iter().find(own).unwrap_or_else(|| Err("is no compiled list".to_owned()))
}

/// The table of quotas, as it is at a glance: the server goes on writing.
fn quotas(bytes: &[u8], now: UnixMicros) -> Result<Value, String> {
    let words: Vec<_> = bytes.as_chunks().0.iter().map(|word| AtomicU64::new(u64::from_ne_bytes(*word))).collect();
    let now = Now { wall: now, ..Now::default() };
    let table =
        SlotTable::open_any(TableKind::Quotas, &words, now).map_err(|why| format!("is no table of quotas: {why}"))?;
    let slots = table.occupancy(now);
    Ok(json!({
        "kind": "quotas",
        "bytes": bytes.len(),
        "slots": slots.used + slots.free,
        "used": slots.used,
        "overflows": table.overflows(),
    }))
}

/// A file for people.
fn describe(file: &Value, paint: Paint, now: UnixMicros) -> String {
    let name = paint.title(&visible(file["file"].as_str().unwrap_or_default()));
    let text = |value: &Value| match value {
        Value::String(text) => visible(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let moment_of = |member: &str| {
        let time = file[member].as_str().and_then(|text| UnixMicros::from_rfc3339(text).ok());
        time.map_or_else(|| text(&file[member]), |time| moment::both(time, now))
    };
    let names = |member: &str| {
        let names = file[member].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        if names.is_empty() { "none".to_owned() } else { visible(&names.join(", ")) }
    };
    let list = |what: &str, more: &[(&str, &str)]| {
        let mut text = format!("{name}: {what}\n  entries   {}\n", file["entries"]);
        for (title, member) in more {
            text.push_str(&format!("  {title:9} {}\n", names(member)));
        }
        text + &format!(
            "  compiled  {}\n  of        a file whose SHA-256 is {}; its path is not known here\n",
            moment_of("written"),
            text_of(&file["source_sha256"])
        )
    };
    match file["kind"].as_str().unwrap_or_default() {
        "keys" => {
            let head = format!(
                "{name}: keys of an issuer\n  from     {}\n  fetched  {}\n",
                text(&file["from"]),
                moment_of("fetched")
            );
            let whole = file["problem"].as_str().map(|why| format!("  {}\n", paint.tone(Tone::Bad, &visible(why))));
            head + &key_table(file, paint) + &whole.unwrap_or_default()
        }
        "revocations" => list("compiled revocations", &[("issuers", "issuers")]),
        "api-keys" => list("compiled API keys", &[("plans", "plans"), ("networks", "networks")]),
        "networks" => list("compiled networks", &[]),
        "quotas" => format!(
            "{name}: what is used of quotas\n  size      {} bytes\n  in use    {} of {} slots\n  overflows {}\n  written   {}\n",
            file["bytes"],
            file["used"],
            file["slots"],
            file["overflows"],
            moment_of("written")
        ),
        "other" => format!("{name}: not looked at\n"),
        _ => format!("{name}: {}\n", paint.tone(Tone::Bad, &text(&file["problem"]))),
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn key_table(file: &Value, paint: Paint) -> String {
    let keys = file["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cell = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), visible);
    let row = |key: &Value| {
        let size = key["bits"].as_u64().map_or_else(|| cell(&key["curve"]), |bits| format!("{bits} bits"));
        [cell(&key["kid"]), cell(&key["kty"]), cell(&key["alg"]), cell(&key["use"]), size]
    };
    let title = ["KID", "KTY", "ALG", "USE", "SIZE"].map(str::to_owned);
    let rows: Vec<_> = [title].into_iter().chain(keys.iter().map(row)).collect();
    let width = |row: &String| row.chars().count();
    let lines = table::lines(&rows);
    let widest = lines.iter().map(width).max().unwrap_or_default();
    let state = |key: &Value| match key["problem"].as_str() {
        None => paint.tone(Tone::Good, "usable"),
        Some(why) => paint.tone(Tone::Bad, &visible(why)),
    };
    let states = ["STATE".to_owned()].into_iter().chain(keys.iter().map(state));
    lines.iter().zip(states).map(|(line, state)| format!("  {line:widest$}  {state}\n")).collect()
}
