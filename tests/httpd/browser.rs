//! What Chromium makes of the gate's answers: CORS, cookies, and requests that other sites make in a user's name.

use serde_json::{Value, json};

use crate::harness::certificates::Authority;
use crate::harness::chromium::{Chromium, Page};
use crate::harness::uvicorn::Uvicorn;
use crate::harness::{MAIN, Server, Site};

/// The gate at `gate.test` on the first port, over TLS and HTTP/2, with `places` in it. On the second port there are empty
/// pages of all other names.
pub(crate) fn over_tls(site: Site, places: &str) -> Server {
    Authority::new().write(&site.root.join("conf"));
    site.write("html/page.html", "<!doctype html><title>A page</title>");
    let tls = "SSLEngine on\nSSLCertificateFile conf/server.pem\nSSLCertificateKeyFile conf/server.key\n\
               Protocols h2 http/1.1";
    site.load(&["ssl"]).start(&format!(
        "LogLevel ssl:error\n<VirtualHost *:${{PORT}}>\nServerName gate.test\n{tls}\n{places}\n</VirtualHost>\n\
         <VirtualHost *:${{PORT2}}>\nServerName pages.test\n{tls}\nAddType text/html html\n</VirtualHost>\n"
    ))
}

/// A URL at the gate.
pub(crate) fn at_gate(server: &Server, path: &str) -> String {
    format!("https://gate.test:{}{path}", server.port.number)
}

/// The origin of pages that are not the gate's.
fn origin(server: &Server, name: &str) -> String {
    format!("https://{name}:{}", server.second_port.number)
}

fn page_of<'b>(browser: &'b Chromium, server: &Server, name: &str) -> Page<'b> {
    browser.page(&format!("{}/page.html", origin(server, name)))
}

const READABLE: &str = r#"
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateCors https://app.test:${PORT2} expose=Vary
    </Location>
    <Location "/open">
        JwtGateToken optional
    </Location>
    <Location "/limit">
        JwtGateLimit few key=subject rate=1/d
    </Location>
    <Location "/denied">
        JwtGateDeny 127.0.0.0/8
    </Location>
"#;

#[test]
fn pages_of_a_named_origin_read_every_answer() {
    let server = over_tls(Site::new(), &format!("{MAIN}{READABLE}"));
    let browser = Chromium::start(&server);
    let page = page_of(&browser, &server, "app.test");
    let authorization = json!({"Authorization": format!("Bearer {}", server.token().sign())});
    let get = |path: &str, headers: &Value| page.fetch(&at_gate(&server, path), &json!({"headers": headers}));

    // Without preflight, and with one.
    let open = get("/open", &json!({}));
    assert_eq!((&open["status"], &open["headers"]["vary"]), (&json!(200), &json!("Origin")), "{open:#}");
    assert_eq!(get("/x", &authorization)["status"], 200);
    let headers = json!({"Authorization": authorization["Authorization"], "Content-Type": "application/json"});
    let put = page
        .fetch(&at_gate(&server, "/x"), &json!({"method": "PUT", "headers": headers, "body": "{\"text\":\"hello\"}"}));
    assert_eq!(put["status"], 200, "{put:#}");
    let seen: Value = serde_json::from_str(put["body"].as_str().unwrap()).unwrap();
    assert_eq!((&seen["method"], &seen["body_length"]), (&json!("PUT"), &json!(16)));
    // What the application permits itself would make two permissions, which are none to a browser.
    let own = get(&format!("/x?cors={}", origin(&server, "app.test")), &authorization);
    assert_eq!((&own["status"], &own["headers"]["vary"]), (&json!(200), &json!("Accept-Encoding,Origin")), "{own:#}");

    let missing = get("/x", &json!({}));
    assert_eq!(
        (&missing["status"], &missing["headers"]["www-authenticate"]),
        (&json!(401), &json!("Bearer realm=\"api\""))
    );
    let invalid = get("/x", &json!({"Authorization": "Bearer a.b.c"}));
    assert_eq!(invalid["headers"]["www-authenticate"], "Bearer realm=\"api\", error=\"invalid_token\"");
    let denied = get("/denied", &json!({}));
    assert_eq!((&denied["status"], denied["body"].as_str().unwrap().contains("Forbidden")), (&json!(403), true));
    let first = get("/limit", &authorization);
    assert_eq!((&first["status"], &first["headers"]["ratelimit-policy"]), (&json!(200), &json!("\"few\";q=1;w=86400")));
    let limited = get("/limit", &authorization);
    assert_eq!(limited["status"], 429, "{limited:#}");
    assert!(limited["headers"]["ratelimit"].as_str().unwrap().starts_with("\"few\";r=0;"), "{limited:#}");
    let seconds: u64 = limited["headers"]["retry-after"].as_str().unwrap().parse().unwrap();
    assert!((86_000..=86_400).contains(&seconds), "{limited:#}");
}

#[test]
fn pages_of_other_origins_read_nothing_and_change_nothing() {
    let server = over_tls(Site::new(), &format!("{MAIN}{READABLE}"));
    let browser = Chromium::start(&server);
    let page = page_of(&browser, &server, "evil.test");
    let headers = json!({"Authorization": format!("Bearer {}", server.token().sign())});
    let url = at_gate(&server, "/x");
    let put = json!({"method": "PUT", "headers": headers});
    for options in [json!({}), json!({"headers": headers}), put.clone()] {
        assert_eq!(page.fetch(&url, &options), json!({"error": "TypeError"}), "{options}");
    }
    assert_eq!(server.app.count(), 0);
    // What needs no preflight arrives, and cannot be read, even if the application would have it so.
    let open = at_gate(&server, &format!("/open?cors={}", origin(&server, "evil.test")));
    assert_eq!(page.fetch(&open, &json!({})), json!({"error": "TypeError"}));
    assert_eq!(server.app.count(), 1);
    // The same from a page that may.
    assert_eq!(page_of(&browser, &server, "app.test").fetch(&url, &put)["status"], 200);
    assert_eq!(server.app.count(), 2);
}

/// Another origin of the same site: what it asks for, the cookie goes with. (What a page of `evil.test` fetches has the
/// cookies of another site in it or not, as the browser's settings are; its forms and links have them.)
const NEIGHBOUR: &str = "evil.gate.test";

/// The gate in front of the application `app/login.py`, whose cookie all sites may send, and of the one that counts.
fn with_cookies(site: Site) -> (Uvicorn, Server) {
    let secret = site.root.join("keys/hs256.secret");
    let login = Uvicorn::start("login", &[("APP_SECRET", &secret), ("SAME_SITE", "none".as_ref())]);
    let server = over_tls(
        site,
        &format!(
            r#"JwtGateIssuer own https://app.example.com audience=app secret=keys/hs256.secret
            ProxyPass /login {0}/login
            ProxyPass /ws {0}/ws upgrade=websocket
            ProxyPass /shared/ws {0}/ws upgrade=websocket
            ProxyPass /favicon.ico !
            ProxyPass / ${{APP}}/
            <Location "/">
                JwtGate on
                JwtGateCredentials cookie:access_token
                JwtGateForward X-User subject
            </Location>
            <Location "/login">
                JwtGate off
            </Location>
            <Location "/shared">
                JwtGateCors https://app.gate.test:${{PORT2}} credentials=on
            </Location>"#,
            login.url()
        ),
    );
    (login, server)
}

/// Logs alice in at the application's page.
fn log_in(page: &Page<'_>, server: &Server) {
    page.open(&at_gate(server, "/login?next=/start"));
    page.run("document.forms[0].elements.user.value = 'alice'; document.forms[0].submit()");
    assert_eq!(page.await_url(&at_gate(server, "/start")), 200);
}

/// The user whom the application behind the gate saw.
fn user(body: &str) -> String {
    let seen: Value = serde_json::from_str(body).unwrap();
    let headers = seen["headers"].as_array().unwrap();
    headers.iter().find(|header| header[0] == "X-User").unwrap()[1].as_str().unwrap().to_owned()
}

#[test]
fn the_cookie_of_starlette_is_a_token() {
    let (_login, server) = with_cookies(Site::new());
    let browser = Chromium::start(&server);
    let page = browser.page(&at_gate(&server, "/start"));
    assert_eq!(page.await_url(&at_gate(&server, "/start")), 401);
    log_in(&page, &server);
    assert_eq!(user(&page.text()), "alice");
    // Starlette puts a value with a blank in it in quotes; scripts cannot see it.
    assert!(page.text().contains(r#"access_token=\"Bearer "#), "{}", page.text());
    assert_eq!(page.run("return document.cookie"), "");
    let fetched = page.fetch("/again", &json!({}));
    assert_eq!((&fetched["status"], user(fetched["body"].as_str().unwrap()).as_str()), (&json!(200), "alice"));
}

#[test]
fn own_pages_act_with_the_cookie_and_foreign_ones_do_not() {
    const FORM: &str = "const form = document.createElement('form'); form.method = 'post'; form.action = '";
    let (_login, server) = with_cookies(Site::new());
    let browser = Chromium::start(&server);
    let own = browser.page(&at_gate(&server, "/login"));
    log_in(&own, &server);
    let url = at_gate(&server, "/orders");
    let submit = format!("{FORM}{url}'; document.body.append(form); form.submit()");

    let before = server.app.count();
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(own.fetch(&url, &json!({"method": method}))["status"], 200, "{method}");
    }
    own.run(&submit);
    assert_eq!(own.await_url(&url), 200);
    assert_eq!(user(&own.text()), "alice");
    assert_eq!(server.app.count(), before + 4);

    let refused = || server.log.count("csrf: refused with 403");
    let neighbour = page_of(&browser, &server, NEIGHBOUR);
    for (count, mode) in ["no-cors", "cors"].into_iter().enumerate() {
        let post = json!({"method": "POST", "mode": mode, "credentials": "include"});
        neighbour.fetch(&url, &post);
        assert_eq!(refused(), count + 1, "{mode}");
        page_of(&browser, &server, "evil.test").fetch(&url, &post);
    }
    let before_forms = refused();
    for (count, name) in [NEIGHBOUR, "evil.test"].into_iter().enumerate() {
        let foreign = page_of(&browser, &server, name);
        foreign.run(&submit);
        assert_eq!(foreign.await_url(&url), 403, "{name}");
        assert_eq!(refused(), before_forms + count + 1, "{name}");
    }
    assert_eq!(server.app.count(), before + 4, "the application is called in alice's name");

    // A link may lead here from anywhere.
    let foreign = page_of(&browser, &server, "evil.test");
    foreign.run(&format!("location.href = '{url}?a=link'"));
    assert_eq!(foreign.await_url(&format!("{url}?a=link")), 200);
    assert_eq!(user(&foreign.text()), "alice");
}

#[test]
fn pages_of_an_origin_that_is_trusted_with_the_cookie_act_with_it() {
    let (_login, server) = with_cookies(Site::new());
    let browser = Chromium::start(&server);
    log_in(&browser.page(&at_gate(&server, "/login")), &server);
    let url = at_gate(&server, "/shared");
    let page = page_of(&browser, &server, "app.gate.test");
    for method in ["GET", "POST", "DELETE"] {
        let answer = page.fetch(&url, &json!({"method": method, "credentials": "include"}));
        assert_eq!((&answer["status"], user(answer["body"].as_str().unwrap()).as_str()), (&json!(200), "alice"));
        assert_eq!(page.fetch(&url, &json!({"method": method}))["status"], 401, "without the cookie");
    }
    let before = server.app.count();
    for name in [NEIGHBOUR, "evil.test"] {
        let evil = page_of(&browser, &server, name);
        for method in ["POST", "DELETE"] {
            let answer = evil.fetch(&url, &json!({"method": method, "credentials": "include"}));
            assert_eq!(answer, json!({"error": "TypeError"}), "{method} of {name}");
        }
    }
    assert_eq!(server.app.count(), before);
}

#[test]
fn a_websocket_is_opened_by_own_pages_and_by_those_that_are_trusted() {
    let (_login, server) = with_cookies(Site::new());
    let browser = Chromium::start(&server);
    let own = browser.page(&at_gate(&server, "/login"));
    log_in(&own, &server);
    let talk = |page: &Page<'_>, path: &str| {
        page.run(&format!(
            "return new Promise((done) => {{
                const socket = new WebSocket('{}');
                socket.onmessage = (message) => done(message.data);
                socket.onclose = () => done('closed');
            }})",
            at_gate(&server, path).replace("https:", "wss:")
        ))
    };
    assert_eq!(talk(&own, "/ws"), "alice");
    for name in [NEIGHBOUR, "app.gate.test", "evil.test"] {
        assert_eq!(talk(&page_of(&browser, &server, name), "/ws"), "closed", "{name}");
    }
    assert!(server.log.count("csrf: refused with 403") >= 2);
    assert_eq!(talk(&page_of(&browser, &server, NEIGHBOUR), "/shared/ws"), "closed");
    assert_eq!(talk(&page_of(&browser, &server, "app.gate.test"), "/shared/ws"), "alice");
}
