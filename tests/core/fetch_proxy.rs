//! What the environment says: proxies and the system's trusted certificates. A process has only one
//! environment, so each of these tests runs itself once more in a process of its own.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc::{self, Receiver},
    thread,
};

use jwt_gate_core::fetch::Fetcher;

use super::fetch_server::{Authority, KEYS, PLENTY, SHORT, Server, answer, fetch, keys};

/// Names the address to fetch, and tells the process that it is the second.
const URL: &str = "JWT_GATE_TEST_URL";

/// What the second process says of a fetch with this environment: the body, or the error.
fn fetched_with(test: &str, url: &str, environment: &[(&str, &str)]) -> Result<String, String> {
    let mut command = Command::new(env::current_exe().unwrap());
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_ascii_lowercase());
    }
    let arguments = ["--exact", "--nocapture", "--test-threads=1"];
    let output = command.arg(test).args(arguments).env(URL, url).envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |prefix| text.lines().find_map(|line| line.split_once(prefix)).map(|(_, rest)| rest.to_owned());
    line("FETCHED ").ok_or_else(|| line("FAILED ").unwrap_or_else(|| panic!("{text}")))
}

/// Whether this is the second process, which then does the fetch.
fn second_process() -> bool {
    let Ok(url) = env::var(URL) else { return false };
    let timeout = if env::var_os("SHORT").is_some() { SHORT } else { PLENTY };
    match fetch(&Fetcher::new(None).unwrap(), &keys(&url), timeout) {
        Ok(fetched) => println!("\nFETCHED {}", String::from_utf8(fetched.jwks).unwrap()),
        Err(error) => println!("\nFAILED {error}"),
    }
    true
}

/// A proxy that takes every name for this machine's `port`; tells what it was asked.
fn proxy(port: u16) -> (String, Receiver<String>) {
    scripted_proxy(move |client| {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        let target = TcpStream::connect(("127.0.0.1", port))?;
        let (mut up, mut down) = ((client.try_clone()?, target.try_clone()?), (target, client.try_clone()?));
        thread::spawn(move || io::copy(&mut up.0, &mut up.1));
        io::copy(&mut down.0, &mut down.1).map(drop)
    })
}

/// A proxy that does as told once it was asked.
fn scripted_proxy(
    script: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (seen, asked) = mpsc::channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            seen.send(String::from_utf8(head).unwrap()).unwrap();
            let _ = script(&mut client);
        }
    });
    (address, asked)
}

/// A server for this name, and a file with the authority that signed its certificate.
fn provider(name: &str, file: &str) -> (Server, String) {
    let authority = Authority::new();
    let path = format!("{}/{file}.pem", env!("CARGO_TARGET_TMPDIR"));
    fs::write(&path, authority.pem()).unwrap();
    (Server::https(authority.server(name), |_, wire| wire.write_all(&answer("200 OK", "", KEYS))), path)
}

fn body() -> Result<String, String> {
    Ok(String::from_utf8(KEYS.to_vec()).unwrap())
}

#[test]
fn the_system_says_whom_to_trust() {
    if second_process() {
        return;
    }
    let run = |url: &str, file: &str| {
        fetched_with("fetch_proxy::the_system_says_whom_to_trust", url, &[("SSL_CERT_FILE", file)])
    };
    let (server, ca) = provider("localhost", "system");
    let url = format!("{}/", server.origin);
    assert_eq!(run(&url, &ca), body());
    let nothing = "/nonexistent/file";
    let error = run(&url, nothing).unwrap_err();
    assert!(error.contains("the system has no trusted certificates") && error.contains("`ca=PATH`"), "{error}");
    let plain = Server::http(|_, wire| wire.write_all(&answer("200 OK", "", KEYS)));
    assert_eq!(run(&format!("{}/", plain.origin), nothing), body());
}

#[test]
fn a_proxy_is_asked_for_other_machines_only() {
    if second_process() {
        return;
    }
    let test = "fetch_proxy::a_proxy_is_asked_for_other_machines_only";
    let (server, ca) = provider("id.example", "proxy");
    let (address, asked) = proxy(server.port);
    let through = [("HTTPS_PROXY", address.as_str()), ("SSL_CERT_FILE", &ca)];
    assert_eq!(fetched_with(test, "https://id.example/jwks", &through), body());
    let head = asked.recv_timeout(PLENTY).unwrap();
    assert!(head.starts_with("CONNECT id.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(server.heads()[0].to_ascii_lowercase().contains("\r\nhost: id.example\r\n"));

    let (server, ca) = provider("localhost", "proxy-local");
    let url = format!("{}/", server.origin);
    assert_eq!(fetched_with(test, &url, &[("HTTPS_PROXY", &address), ("SSL_CERT_FILE", &ca)]), body());
    let plain = Server::http(|_, wire| wire.write_all(&answer("200 OK", "", KEYS)));
    assert_eq!(fetched_with(test, &format!("{}/", plain.origin), &[("ALL_PROXY", &address)]), body());
    assert!(asked.try_recv().is_err());

    // No name server knows the domain `invalid` (RFC 6761 section 6.4).
    let spared = [("HTTPS_PROXY", address.as_str()), ("NO_PROXY", ".invalid"), ("SHORT", "")];
    assert!(fetched_with(test, "https://id.invalid/", &spared).is_err());
    let spared = [("ALL_PROXY", "socks5://127.0.0.1:1080"), ("NO_PROXY", ".invalid"), ("SHORT", "")];
    assert!(!fetched_with(test, "https://id.invalid/", &spared).unwrap_err().contains("SOCKS"));
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_proxy_that_fails_is_called_so() {
    if second_process() {
        return;
    }
    let run = |environment: &[(&str, &str)]| {
        fetched_with("fetch_proxy::a_proxy_that_fails_is_called_so", "https://id.example/jwks", environment)
            .unwrap_err()
    };
    let (address, _asked) = scripted_proxy(|client| client.write_all(b"HTTP/1.1 407 \x1b[31m\r\n\r\n"));
    assert!(run(&[("HTTPS_PROXY", &address)]).starts_with("https://id.example/jwks: the answer is not HTTP/1.1"));
    let (address, _asked) = scripted_proxy(|client| client.write_all(b"HTTP/1.1 403 No\r\n\r\n"));
    let error = run(&[("HTTPS_PROXY", &address)]);
    assert!(error.starts_with("https://id.example/jwks: the proxy that the environment names failed"), "{error}");
    let error = run(&[("ALL_PROXY", "socks5://127.0.0.1:1080")]);
    assert!(error.contains("SOCKS") && error.contains("HTTPS_PROXY") && error.contains("NO_PROXY"), "{error}");
}

#[test]
fn a_proxy_does_not_extend_the_time() {
    if second_process() {
        return;
    }
    let (address, _asked) = scripted_proxy(|client| {
        client.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
        while client.write_all(b" ").is_ok() {
            thread::sleep(SHORT / 30);
        }
        Ok(())
    });
    let environment = [("HTTPS_PROXY", address.as_str()), ("SHORT", "")];
    let error = fetched_with("fetch_proxy::a_proxy_does_not_extend_the_time", "https://id.example/jwks", &environment);
    assert_eq!(error.unwrap_err(), "https://id.example/jwks: no answer within 300ms");
}
