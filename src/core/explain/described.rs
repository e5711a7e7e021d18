//! A request that is asked about: the body of a POST to `SetHandler jwt-gate-explain`.

use std::net::IpAddr;

use crate::forward::is_tchar;
use crate::net::address::parse_address;
use crate::token::json::Json;

/// A request as an administrator describes it.
///
/// ```json
/// {"method": "GET", "path": "/x?y=1", "host": "api.example.com", "address": "192.0.2.1", "peer": "10.0.0.1",
///  "headers": [["Authorization", "Bearer ..."]]}
/// ```
///
/// Only `path` must be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Described {
    /// Its method; `GET` if nothing is said.
    pub method: String,
    /// Path and query, as a client would write them.
    pub path: String,
    /// Its header `Host`.
    pub host: Option<String>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The address of the connection.
    pub peer: Option<IpAddr>,
    /// Its other headers, in order.
    pub headers: Vec<(String, String)>,
}

impl Described {
    /// Reads the body.
    ///
    /// # Errors
    /// What is wrong with it, without a word of its headers.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let Json::Object(members) = Json::parse(body).map_err(|why| format!("the body is not JSON: {why}"))? else {
            return Err("the body is not a JSON object: write {\"method\": \"GET\", \"path\": \"/\"}".to_owned());
        };
        let (mut method, mut path, mut host) = (None, None, None);
        let (mut address, mut peer, mut headers) = (None, None, Vec::new());
        for (name, value) in &members {
            match name.as_ref() {
                "headers" => headers = read_headers(value)?,
                "method" => method = Some(checked(name, value, is_method, "a method: write GET or another")?),
                "path" => path = Some(checked(name, value, is_path, PATH)?),
                "host" => host = Some(checked(name, value, is_visible, "a Host: write api.example.com")?),
                "address" => address = Some(read_address(name, value)?),
                "peer" => peer = Some(read_address(name, value)?),
                _ => {
                    return Err(format!(
                        "the member {:?} is not known: there are method, path, host, address, peer and headers",
                        shortened(name)
                    ));
                }
            }
        }
        let path = path.ok_or("the member \"path\" is missing: write {\"path\": \"/\"}")?;
        Ok(Self { method: method.unwrap_or_else(|| "GET".to_owned()), path, host, address, peer, headers })
    }
}

const PATH: &str = "a path as clients write it: begin with `/`, and percent-encode what is not visible ASCII, and `#`";

fn text<'j>(name: &str, value: &'j Json<'_>) -> Result<&'j str, String> {
    value.as_str().ok_or_else(|| format!("the member {name:?} is not a string"))
}

fn checked(name: &str, value: &Json<'_>, is_good: fn(&str) -> bool, form: &str) -> Result<String, String> {
    let text = text(name, value)?;
    if is_good(text) { Ok(text.to_owned()) } else { Err(format!("{name}: {:?} is not {form}", shortened(text))) }
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && is_visible(text) && !text.contains('#')
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn read_address(name: &str, value: &Json<'_>) -> Result<IpAddr, String> {
    parse_address(text(name, value)?).map_err(|why| format!("{name}: {why}"))
}

/// Pairs of name and value. A value is as HTTP has it (RFC 9110 section 5.5), without the white space around it.
fn read_headers(value: &Json<'_>) -> Result<Vec<(String, String)>, String> {
    let form = || "headers: write a list of pairs: [[\"Accept\", \"*/*\"]]".to_owned();
    let Json::Array(pairs) = value else { return Err(form()) };
    let read = |pair: &Json<'_>| {
        let [name, value] = pair.elements() else { return Err(form()) };
        let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else { return Err(form()) };
        if name.is_empty() || !name.bytes().all(is_tchar) {
            return Err(format!("headers: {:?} is not the name of a header", shortened(name)));
        }
        if name.eq_ignore_ascii_case("host") {
            return Err("headers: write Host as the member \"host\"".to_owned());
        }
        if value.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return Err(format!("headers: the value of {:?} has a control character", shortened(name)));
        }
        Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
    };
    pairs.iter().map(read).collect()
}

/// Enough of a text to find it again.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_the_path_may_be_left_out() {
        let described = Described::parse(br#"{"path":"/x?y=1"}"#).unwrap();
        assert_eq!((described.method.as_str(), described.path.as_str()), ("GET", "/x?y=1"));
        assert_eq!((described.host, described.address, described.peer), (None, None, None));
        let body =
            br#"{"method":"POST","path":"/","host":"a.test:80","address":"::ffff:192.0.2.1","peer":"2001:db8::1",
                        "headers":[["Cookie"," a=b "],["cookie",""]]}"#;
        let described = Described::parse(body).unwrap();
        assert_eq!(described.method, "POST");
        assert_eq!(described.host.as_deref(), Some("a.test:80"));
        assert_eq!(described.address, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(described.peer, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(described.headers, [("Cookie".to_owned(), "a=b".to_owned()), ("cookie".to_owned(), String::new())]);
    }

    #[test]
    fn what_no_client_could_send_is_refused_with_the_reason_and_without_the_credential() {
        for (body, why) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            ("[]", "not a JSON object"),
            ("{}", "\"path\" is missing"),
            (r#"{"path":"/","path":"/"}"#, "not JSON"),
            (r#"{"path":5}"#, "\"path\" is not a string"),
            (r#"{"path":"x"}"#, "not a path"),
            (r#"{"path":"/ x"}"#, "not a path"),
            (r#"{"path":"/\u00e4"}"#, "not a path"),
            (r#"{"path":"/\r\nX: y"}"#, "not a path"),
            (r##"{"path":"/#x"}"##, "not a path"),
            (r#"{"path":"/","method":"GET /"}"#, "not a method"),
            (r#"{"path":"/","method":""}"#, "not a method"),
            (r#"{"path":"/","host":"a b"}"#, "not a Host"),
            (r#"{"path":"/","address":"a.test"}"#, "address: "),
            (r#"{"path":"/","peer":"10.0.0.0/8"}"#, "peer: "),
            (r#"{"path":"/","token":"a.b.c"}"#, "\"token\" is not known"),
            (r#"{"path":"/","headers":{}}"#, "list of pairs"),
            (r#"{"path":"/","headers":["a"]}"#, "list of pairs"),
            (r#"{"path":"/","headers":[["a"]]}"#, "list of pairs"),
            (r#"{"path":"/","headers":[["a",1]]}"#, "list of pairs"),
            (r#"{"path":"/","headers":[["a b","secret"]]}"#, "not the name of a header"),
            (r#"{"path":"/","headers":[["a","secret\n"]]}"#, "control character"),
            (r#"{"path":"/","headers":[["HOST","secret"]]}"#, "the member \"host\""),
        ] {
            let error = Described::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{body}: {error}");
        }
    }
}
