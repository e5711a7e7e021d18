//! Options of `JwtGateIssuer` that are about fetching keys.

use std::time::Duration;

use super::parse;
use crate::keys::schedule::{DEFAULT_COOLDOWN, DEFAULT_REFRESH, DEFAULT_STALE, DEFAULT_TIMEOUT};

/// How the keys of an issuer are fetched.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FetchOptions {
    /// How often, if that was written; else what the provider says, or [`DEFAULT_REFRESH`].
    pub refresh: Option<Duration>,
    /// How long a set may be used after it was fetched.
    pub stale: Duration,
    /// The shortest time between two fetches because of an unknown `kid`.
    pub cooldown: Duration,
    /// How long one exchange with the provider may take, and how long a request waits for new keys.
    pub timeout: Duration,
    /// File with the certificates to trust instead of the system's.
    pub ca: Option<String>,
}

/// Options as they are found.
#[derive(Debug, Default)]
pub(super) struct Written {
    refresh: Option<Duration>,
    stale: Option<Duration>,
    cooldown: Option<Duration>,
    timeout: Option<Duration>,
    ca: Option<String>,
    /// The first that was found, for messages.
    first: Option<&'static str>,
}

/// Names, and what their times may be.
const TIMES: [(&str, Duration, Duration); 4] = [
    ("refresh", Duration::from_secs(1), DAYS_30),
    ("stale", Duration::from_secs(1), DAYS_30),
    ("cooldown", Duration::from_secs(1), Duration::from_secs(3600)),
    ("timeout", Duration::from_millis(100), Duration::from_secs(15)),
];
const DAYS_30: Duration = Duration::from_secs(30 * 86_400);

impl Written {
    /// Takes an option if it is one of these; tells whether it was.
    pub(super) fn read(&mut self, key: &str, value: &str) -> Result<bool, String> {
        if key == "ca" {
            self.first.get_or_insert("ca");
            return parse::set_once(&mut self.ca, key, value.to_owned()).map(|()| true);
        }
        let Some((name, least, most)) = TIMES.into_iter().find(|(name, ..)| *name == key) else { return Ok(false) };
        self.first.get_or_insert(name);
        let time = parse::duration(value).map_err(|text| format!("`{key}=`: {text}"))?;
        if time < least || time > most {
            return Err(format!("`{key}={value}`: write a time from {} to {}", shown(least), shown(most)));
        }
        let slot = match name {
            "refresh" => &mut self.refresh,
            "stale" => &mut self.stale,
            "cooldown" => &mut self.cooldown,
            _ => &mut self.timeout,
        };
        parse::set_once(slot, key, time).map(|()| true)
    }

    /// The options for keys that are fetched.
    pub(super) fn finish(self) -> Result<FetchOptions, String> {
        let stale = self.stale.unwrap_or(DEFAULT_STALE);
        if self.refresh.is_some_and(|refresh| refresh >= stale) {
            return Err("`refresh=` is not shorter than `stale=`: keys would be refused before new ones are fetched; \
                        write a longer `stale=`"
                .to_owned());
        }
        // Unwritten, `refresh` makes way for a short `stale`.
        let refresh = self.refresh.or_else(|| (stale <= DEFAULT_REFRESH).then_some(stale / 2));
        Ok(FetchOptions {
            refresh,
            stale,
            cooldown: self.cooldown.unwrap_or(DEFAULT_COOLDOWN),
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            ca: self.ca,
        })
    }

    /// Keys that are not fetched have none of these options.
    pub(super) fn refuse(&self) -> Result<(), String> {
        match self.first {
            None => Ok(()),
            Some(first) => {
                Err(format!("`{first}=` is about keys that are fetched, and these come from files: leave it out"))
            }
        }
    }
}

fn shown(time: Duration) -> String {
    match (time.as_millis(), time.as_secs()) {
        (millis, 0) => format!("{millis}ms"),
        (_, secs) if secs % 86_400 == 0 => format!("{}d", secs / 86_400),
        (_, secs) => format!("{secs}s"),
    }
}
