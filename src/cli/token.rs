//! `jwt-gate token`: what a token says, and what the gate says of it.

use std::borrow::Cow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use jwt_gate_core::algorithm::{Algorithm, AlgorithmSet};
use jwt_gate_core::config::issuer;
use jwt_gate_core::keys::{KeySet, Loaded, set};
use jwt_gate_core::time::UnixMicros;
use jwt_gate_core::token::issuer::{Audiences, Issuer, IssuerSet, Types};
use jwt_gate_core::token::json::{Json, Members};
use jwt_gate_core::token::verify;
use jwt_gate_core::verdict::Reason;
use serde_json::{Value, json};

use crate::advice::advice;
use crate::answer::Answer;
use crate::credential;
use crate::failure::Failure;
use crate::file;
use crate::moment;
use crate::note;
use crate::screen::{Paint, Tone, show, show_json, visible};
use crate::table;

#[derive(Subcommand)]
pub(crate) enum Command {
    Inspect(Inspect),
}

/// Show what a token says, and whether the gate would take it
///
/// Without keys the token is only decoded: what it says may have been written by anybody. With keys it is verified by
/// the same code as in the server, under the same rules as those of a JwtGateIssuer with these options: what the gate
/// refuses is refused here. What is not looked at is what only the server knows: revocations, Require and limits.
#[derive(Args)]
#[command(after_help = "\
Ends with 0 if the token is good (without keys: if it has the form of one), with 1 if it is refused, with 2 if the \
command or a file cannot be used.

Examples:
  jwt-gate token inspect < token
  jwt-gate token inspect - --jwks <(curl -s https://login.example.com/jwks) \\
      --issuer https://login.example.com/ --audience my-api < token
  jwt-gate token inspect - --secret /etc/apache2/jwt_gate/own.secret --issuer - --audience '*' < token")]
pub(crate) struct Inspect {
    /// The token; `-`, or nothing, for standard input. A `Bearer ` in front of it is passed over
    #[arg(value_name = "TOKEN|-", default_value = "-", hide_default_value = true)]
    token: String,
    /// File with a JWK set
    #[arg(long, value_name = "FILE", group = "source")]
    jwks: Option<PathBuf>,
    /// File with public keys or certificates (PEM); may be repeated
    #[arg(long, value_name = "FILE", group = "source")]
    pem: Vec<PathBuf>,
    /// File with a secret
    #[arg(long, value_name = "FILE", group = "source")]
    secret: Option<PathBuf>,
    /// ISSUER of the JwtGateIssuer, which `iss` has to be byte for byte; `-` for tokens without `iss`
    #[arg(long, value_name = "ISSUER", requires = "source")]
    issuer: Option<String>,
    /// An accepted audience; may be repeated. `*` turns the check off
    #[arg(long, requires = "source")]
    audience: Vec<String>,
    /// Accepted algorithms, such as RS256,ES256 [default: those of JwtGateIssuer]
    #[arg(long, value_name = "ALGORITHM,...", requires = "source")]
    algorithms: Option<String>,
    /// How much clocks may differ [default: 30s]
    #[arg(long, value_name = "TIME", requires = "source")]
    leeway: Option<String>,
    /// Accepted values of the header `typ` [default: none, JWT or at+jwt]
    #[arg(long, value_name = "TYPE,...", requires = "source")]
    typ: Option<String>,
    /// Any other option of JwtGateIssuer, such as max-age=1h or profile=cognito; may be repeated
    #[arg(long = "option", value_name = "OPTION", requires = "source")]
    options: Vec<String>,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &Command) -> Result<Answer, Failure> {
    match command {
        Command::Inspect(inspect) => inspect.run(),
    }
}

/// What was found out about a token.
enum Verdict {
    Valid,
    /// There were no keys, and it looks like a token.
    Unverified,
    /// Why, and what in the token that is about.
    Refused(Reason, Option<String>),
}

impl Inspect {
    fn run(&self) -> Result<Answer, Failure> {
        let issuer = self.issuer()?.map(Arc::new);
        let token = credential::token(&self.token)?;
        let now = moment::now();
        let said = Said::of(&token);
        let verdict = match &issuer {
            Some(issuer) => {
                let issuers = IssuerSet::new(vec![Arc::clone(issuer)]).map_err(Failure::unusable)?;
                verify_by(&token, &issuers, now)
            }
            // Nobody is believed, so that a good token is one of an unknown issuer.
            None => match verify_by(&token, &IssuerSet::default(), now) {
                Verdict::Refused(Reason::IssuerUnknown, _) => match said.wrong_type() {
                    Some(wrong) => Verdict::Refused(Reason::TokenMalformed, Some(wrong)),
                    None => Verdict::Unverified,
                },
                other => other,
            },
        };
        let verdict = match verdict {
            Verdict::Refused(reason, None) => Verdict::Refused(reason, said.about(reason, issuer.as_deref(), now)),
            other => other,
        };
        if self.json {
            show_json(&said.json(&verdict, now))?;
        } else {
            show(&said.text(&verdict, now))?;
        }
        Ok(match verdict {
            Verdict::Valid | Verdict::Unverified => Answer::Yes,
            Verdict::Refused(..) => Answer::No,
        })
    }

    /// The policy with its keys; `None` without keys.
    fn issuer(&self) -> Result<Option<Issuer>, Failure> {
        let (source, paths): (_, Vec<&Path>) = match (&self.jwks, &self.secret) {
            (Some(path), _) => ("jwks=file:-", vec![path]),
            (_, Some(path)) => ("secret=-", vec![path]),
            _ if self.pem.is_empty() => return Ok(None),
            _ => ("pem=-", self.pem.iter().map(PathBuf::as_path).collect()),
        };
        let Some(issuer) = &self.issuer else {
            return Err(Failure::unusable(
                "tokens of which issuer are good? Say it with --issuer, as JwtGateIssuer has it (`-` for tokens \
                 without `iss`)"
                    .to_owned(),
            ));
        };
        if self.audience.is_empty() {
            return Err(Failure::unusable(
                "tokens for which audience are good? Say it with --audience, as JwtGateIssuer has it (`*` turns the \
                 check off)"
                    .to_owned(),
            ));
        }
        // The directive itself is written and read, so that its rules and defaults hold.
        let written = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
        let audience = Some(self.audience.join(","));
        let options = [
            written("audience", &audience),
            written("algorithms", &self.algorithms),
            written("leeway", &self.leeway),
            written("typ", &self.typ),
        ];
        let options: Vec<String> = options.into_iter().flatten().chain(self.options.iter().cloned()).collect();
        let words: Vec<&str> =
            ["token", issuer, source].into_iter().chain(options.iter().map(String::as_str)).collect();
        let def = issuer::parse(&words).map_err(|why| {
            let why = visible(why.strip_prefix("issuer `token`: ").unwrap_or(&why));
            Failure::unusable(format!("no JwtGateIssuer has these options: {why}"))
        })?;
        let sets = paths
            .into_iter()
            .map(|path| {
                let loaded = self.load(path, def.algorithms);
                let shown = || visible(&path.display().to_string());
                let loaded = loaded.map_err(|why| Failure::unusable(format!("{}: {}", shown(), visible(&why))))?;
                for skipped in &loaded.skipped {
                    note(&format!("{}: not used: {}", shown(), visible(skipped)));
                }
                Ok(loaded.keys)
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let keys =
            KeySet::merge(&sets).map_err(|why| Failure::unusable(format!("the keys do not go together: {why}")))?;
        Ok(Some(Issuer { keys: Some(Arc::new(keys)), ..def.policy(0) }))
    }

    fn load(&self, path: &Path, algorithms: AlgorithmSet) -> Result<Loaded, String> {
        let read = file::read(path, set::MAX_BYTES as u64);
        let (bytes, metadata) = read.map_err(|why| format!("cannot be read: {why}"))?;
        if self.jwks.is_some() {
            return set::from_jwks(&bytes, algorithms);
        }
        if self.secret.is_none() {
            return set::from_pem(&bytes, algorithms);
        }
        let mode = metadata.permissions().mode();
        if metadata.is_file() && mode & 0o007 != 0 {
            return Err(format!(
                "can be read or written by everybody (mode {:o}), and the server does not take it: run `chmod 640 {}`",
                mode & 0o777,
                path.display()
            ));
        }
        set::from_secret(&bytes, algorithms)
    }
}

fn verify_by(token: &[u8], issuers: &IssuerSet, now: UnixMicros) -> Verdict {
    match verify(token, issuers, now) {
        Ok(_) => Verdict::Valid,
        Err(reason) => Verdict::Refused(reason, None),
    }
}

/// What a token says, as far as it can be made out; nothing is concluded from it.
struct Said {
    length: usize,
    parts: usize,
    header: Result<Members<'static>, String>,
    claims: Result<Members<'static>, String>,
}

impl Said {
    fn of(token: &[u8]) -> Self {
        let mut parts = token.split(|byte| *byte == b'.');
        let header = part(parts.next());
        let claims = part(parts.next());
        let parts = token.split(|byte| *byte == b'.').count();
        Self { length: token.len(), parts, header, claims }
    }

    fn in_header(&self, name: &str) -> Option<&Json<'static>> {
        member(&self.header, name)
    }

    fn claim(&self, name: &str) -> Option<&Json<'static>> {
        member(&self.claims, name)
    }

    /// The claim that is of another type than RFC 7519 section 4.1 has it.
    fn wrong_type(&self) -> Option<String> {
        let bad_time =
            TIMES[..3].iter().find(|name| self.claim(name).is_some_and(|value| numeric_date(value).is_none()));
        let is_text = |value: &Json| matches!(value, Json::String(_));
        let bad_text = ["iss", "sub", "jti", "azp", "client_id"];
        let bad_text = bad_text.iter().find(|name| self.claim(name).is_some_and(|value| !is_text(value)));
        let is_list = |value: &Json| value.elements().iter().all(is_text);
        let bad_list = Some(&"aud").filter(|name| self.claim(name).is_some_and(|value| !is_list(value)));
        bad_time
            .map(|name| format!("`{name}` is not a number of seconds since 1970"))
            .or(bad_text.map(|name| format!("`{name}` is not a text")))
            .or(bad_list.map(|name| format!("`{name}` is neither a text nor a list of texts")))
    }

    /// What in the token a refusal is about.
    fn about(&self, reason: Reason, issuer: Option<&Issuer>, now: UnixMicros) -> Option<String> {
        let said = |name: &str, value: Option<&Json>| match value {
            Some(value) => format!("`{name}` is {}", visible(&value.to_string())),
            None => format!("there is no `{name}`"),
        };
        let names = |names: &[String]| visible(&names.join(", "));
        match reason {
            Reason::TokenTooLarge => Some(format!("it has {} bytes", self.length)),
            Reason::TokenMalformed => self.malformed(),
            Reason::AlgorithmRefused => {
                let accepted: Vec<_> = issuer?.algorithms.iter().map(Algorithm::name).collect();
                Some(format!("{}; accepted: {}", said("alg", self.in_header("alg")), accepted.join(", ")))
            }
            Reason::IssuerUnknown => {
                let wanted = issuer?.issuer.as_ref().map_or("no `iss`".to_owned(), |iss| format!("{iss:?}"));
                Some(format!("{}; accepted: {}", said("iss", self.claim("iss")), visible(&wanted)))
            }
            Reason::KeyUnknown => {
                let keys = issuer?.keys.as_ref()?;
                let kids: Vec<_> = keys.iter().map(|key| key.kid().unwrap_or("without kid").to_owned()).collect();
                Some(format!("{}; the keys are: {}", said("kid", self.in_header("kid")), names(&kids)))
            }
            Reason::TokenExpired => match numeric_date(self.claim("exp")?)? {
                expires if expires <= now => Some(format!("it expired {}", moment::distance(expires, now))),
                _ => Some(format!("{}, which is older than `max-age=`", said("iat", self.claim("iat")))),
            },
            Reason::TokenNotYetValid => {
                let from = ["nbf", "iat"].iter().filter_map(|name| numeric_date(self.claim(name)?)).max()?;
                Some(format!("it begins {}", moment::distance(from, now)))
            }
            Reason::AudienceMismatch => {
                let Audiences::OneOf(accepted) = &issuer?.audiences else { return None };
                let claim = issuer?.audience_claims.iter().find(|name| self.claim(name).is_some())?;
                Some(format!("{}; accepted: {}", said(claim, self.claim(claim)), names(accepted)))
            }
            Reason::TypeMismatch => {
                let accepted = match &issuer?.types {
                    Types::Usual => "none, JWT, at+jwt".to_owned(),
                    Types::OneOf(types) => names(types),
                };
                Some(format!("{}; accepted: {accepted}", said("typ", self.in_header("typ"))))
            }
            Reason::ClaimMismatch => {
                let issuer = issuer?;
                let audience = || match &issuer.audiences {
                    Audiences::OneOf(_) => issuer.audience_claims.iter().all(|name| self.claim(name).is_none()),
                    Audiences::Any => false,
                };
                if issuer.require_exp && self.claim("exp").is_none() {
                    Some("there is no `exp`".to_owned())
                } else if issuer.max_age.is_some() && self.claim("iat").is_none() {
                    Some("there is no `iat`".to_owned())
                } else if audience() {
                    Some(format!("there is no `{}`", names(&issuer.audience_claims)))
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    fn malformed(&self) -> Option<String> {
        let wrong = |what: &str, part: &Result<Members, String>| Some(format!("the {what} {}", part.as_ref().err()?));
        match self.parts {
            1 => Some("it has no dots, so it may be an opaque token, which only its issuer understands".to_owned()),
            3 => wrong("header", &self.header).or_else(|| wrong("payload", &self.claims)).or_else(|| self.wrong_type()),
            5 => Some("it has five parts, so it is an encrypted token (JWE)".to_owned()),
            parts => Some(format!("it has {parts} parts between dots instead of three")),
        }
    }

    fn text(&self, verdict: &Verdict, now: UnixMicros) -> String {
        let paint = Paint::for_output();
        let mut text = String::new();
        for (title, part) in [("header", &self.header), ("claims", &self.claims)] {
            text.push_str(&paint.title(title));
            text.push('\n');
            let lines = match part {
                Ok(members) => {
                    let row = |(name, value): &(Cow<str>, Json)| {
                        let time = Some(value).filter(|_| TIMES.contains(&name.as_ref())).and_then(numeric_date);
                        let time = time.map(|time| moment::both(time, now)).unwrap_or_default();
                        [visible(name), visible(&value.to_string()), time]
                    };
                    times_behind(&members.iter().map(row).collect::<Vec<_>>())
                }
                Err(why) => vec![paint.tone(Tone::Bad, &visible(why))],
            };
            text.extend(lines.iter().map(|line| format!("  {line}\n")));
        }
        let (tone, word, sentence) = match verdict {
            Verdict::Valid => (
                Tone::Good,
                "valid".to_owned(),
                "The signature and everything that the issuer's options ask for are good. Revocations, Require and \
                 limits are for the server to look at."
                    .to_owned(),
            ),
            Verdict::Unverified => (
                Tone::Odd,
                "not verified".to_owned(),
                "It has the form of a token, but anybody may have written it: give keys (--jwks, --pem or --secret)."
                    .to_owned(),
            ),
            Verdict::Refused(reason, about) => {
                let about = about.as_ref().map(|about| format!(" Here {about}.")).unwrap_or_default();
                (Tone::Bad, format!("refused, {}", reason.word()), format!("{}{about}", advice(*reason)))
            }
        };
        text.push_str(&format!("{}: {sentence}\n", paint.tone(tone, &word)));
        text
    }

    fn json(&self, verdict: &Verdict, now: UnixMicros) -> Value {
        let value_of = |json: &Json| -> Value { serde_json::from_str(&json.to_string()).unwrap_or_default() };
        let part = |part: &Result<Members, String>| match part {
            Ok(members) => members.iter().map(|(name, json)| (name.to_string(), value_of(json))).collect(),
            Err(_) => Value::Null,
        };
        let wrong = |part: &Result<Members, String>| part.as_ref().err().cloned();
        let time = |name: &&str| {
            let time = numeric_date(self.claim(name)?)?;
            let seconds = i128::from(time.0 / 1_000_000) - i128::from(now.0 / 1_000_000);
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            Some(((*name).to_owned(), json!({ "at": moment::rfc3339(time), "seconds_from_now": seconds })))
        };
        let mistakes: Vec<_> = [wrong(&self.header), wrong(&self.claims)].into_iter().flatten().collect();
        let times: serde_json::Map<_, _> = TIMES.iter().filter_map(time).collect();
        let mut value = json!({
            "header": part(&self.header),
            "claims": part(&self.claims),
            "times": times,
            "mistakes": mistakes,
        });
        let (verdict, more) = match verdict {
            Verdict::Valid => ("valid", json!({})),
            Verdict::Unverified => ("not-verified", json!({})),
            Verdict::Refused(reason, about) => (
                "refused",
                json!({ "reason": reason.word(), "status": reason.consequence().status,
                        "advice": advice(*reason), "about": about }),
            ),
        };
        value["verdict"] = verdict.into();
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    }
}

/// Claims that are times: those of RFC 7519 section 4.1, which have to be, and those of OpenID Connect.
const TIMES: [&str; 5] = ["exp", "nbf", "iat", "auth_time", "updated_at"];

/// A time as RFC 7519 section 2 has it.
fn numeric_date(value: &Json) -> Option<UnixMicros> {
    let Json::Number(number) = value else { return None };
    // What is too large for a time becomes the greatest one.
    let seconds = number.as_f64().filter(|seconds| *seconds >= 0.0)?;
    Some(number.as_u64().map_or(UnixMicros((seconds * 1e6) as u64), UnixMicros::from_secs))
}

/// One of the first two parts of a token.
fn part(part: Option<&[u8]>) -> Result<Members<'static>, String> {
    let part = part.ok_or("is missing")?;
    let octets =
        BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|why| format!("is not base64url without padding: {why}"))?;
    match Json::parse(&octets).map_err(|why| format!("is not strict JSON: {why}"))?.into_owned() {
        Json::Object(members) => Ok(members),
        _ => Err("is not a JSON object".to_owned()),
    }
}

fn member<'j>(part: &'j Result<Members<'static>, String>, name: &str) -> Option<&'j Json<'static>> {
    part.as_ref().ok()?.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

/// Names and values in columns. Times stand right behind the short values that they explain.
fn times_behind(rows: &[[String; 3]]) -> Vec<String> {
    let names: Vec<_> = rows.iter().map(|[name, ..]| [name.clone(), String::new()]).collect();
    let width = table::lines(&names).iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let line = |[name, value, time]: &[String; 3]| match time.as_str() {
        "" => format!("{name:width$}  {value}"),
        time => format!("{name:width$}  {value}  {time}"),
    };
    rows.iter().map(line).collect()
}
