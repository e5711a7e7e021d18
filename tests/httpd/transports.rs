//! Every way from httpd to an application: who asks is told by the gate alone, what is refused does not arrive, and a
//! credential that is withheld is nowhere in what arrives.

use crate::harness::app::Seen;
use crate::harness::{Answer, Backend, Connection, MAIN, Mpm, Request, Server, Site};

/// The application is at `/app`, however it is reached.
const GATE: &str = r#"
    JwtGateDeny 127.0.0.66
    <Location "/app">
        JwtGate on
        JwtGateCredentials bearer header:X-Token cookie:session query:access_token
        JwtGateForward X-User subject
        JwtGateForward X-Name claim:name
        JwtGateForward X-Claims claims
        JwtGateForward X-Text "expr=%{jwt:sub} %{REQUEST_METHOD}"
    </Location>
    <Location "/app/untold">
        JwtGateForward none
    </Location>
    <Location "/app/optional">
        JwtGateToken optional
    </Location>
    <Location "/app/off">
        JwtGate off
    </Location>
    <Location "/app/withheld">
        JwtGateForwardCredentials off
    </Location>
    <Location "/app/admin">
        Require jwt-scope admin
    </Location>
"#;

/// Names that some application could take for one that the gate sets.
const FORGED: [&str; 12] = [
    "X-User", "x_user", "X.User", "x-USER", "X-Name", "X_Name", "X-Claims", "x.claims", "X_Claims", "X-Text", "X_TEXT",
    "x.text",
];

/// Variables in which the protocols of CGI's family tell who asks.
const USERS: [&str; 2] = ["REMOTE_USER", "JWT_GATE_SUBJECT"];

/// What a test of one way to an application needs: a server with [`GATE`], and the application's own account.
struct Way<'a> {
    server: Server,
    /// How many requests it got.
    count: &'a dyn Fn(&Server) -> usize,
    /// What it was told, by its answer.
    told: fn(&Answer) -> Seen,
}

impl Way<'_> {
    fn assert_holds(mut self) {
        self.server.expect_log("AH01630");
        self.assert_only_the_gate_tells_who_asks();
        self.assert_refusals_do_not_arrive();
        self.assert_credentials_can_be_withheld();
    }

    fn assert_only_the_gate_tells_who_asks(&self) {
        let token = self.server.token().claim("name", "Jürgen ☃").sign();
        let claims = token.split('.').nth(1).unwrap();
        let identity =
            [("x-user", "alice"), ("x-name", "J%C3%BCrgen %E2%98%83"), ("x-claims", claims), ("x-text", "alice GET")];
        let mut forgeries: Vec<Vec<(&str, &str)>> = FORGED.iter().map(|&name| vec![(name, "eve")]).collect();
        forgeries.push(FORGED.iter().map(|&name| (name, "eve")).collect());
        forgeries.push(vec![("X-User", "eve"), ("X-User", "eve")]);
        for connection in ["X-User, x-name, X-Claims, X-Text", "close, x_user, X.Name", "keep-alive,X-User"] {
            forgeries.push(vec![("Connection", connection)]);
            forgeries.push(vec![("Connection", connection), ("X-User", "eve"), ("x_name", "eve")]);
            forgeries.push(vec![("Proxy-Connection", connection), ("X-User", "eve")]);
        }
        forgeries.push(vec![("Proxy-Authorization", "Bearer eve"), ("Remote-User", "alice"), ("Proxy", "X-User")]);
        let before = self.count();
        for headers in &forgeries {
            let ask = |place: &str, token: Option<&str>| {
                let request =
                    headers.iter().fold(self.server.get(place), |request, (name, value)| request.header(name, value));
                let seen = (self.told)(&token.map_or(request.clone(), |token| request.bearer(token)).send());
                assert_eq!(seen.target, place);
                seen
            };
            for place in ["/app/gated", "/app/optional"] {
                let seen = ask(place, Some(&token));
                for (name, value) in identity {
                    assert_eq!(named(&seen, name), [value], "{name} at {place} with {headers:?}");
                }
                let users = seen.headers.iter().filter(|field| USERS.contains(&field.0.as_str()));
                assert!(users.into_iter().all(|field| field.1 == "alice"), "{place} with {headers:?}: {seen:?}");
            }
            let unknown = [("/app/off", None), ("/app/optional", None), ("/app/off", Some(&*token))];
            for (place, token) in unknown {
                let seen = ask(place, token);
                let users = seen.headers.iter().filter(|field| USERS.contains(&field.0.as_str()));
                assert_eq!(users.count(), 0, "{place} with {headers:?}: {seen:?}");
                for (name, _) in &identity[..3] {
                    assert_eq!(named(&seen, name), [""; 0], "{name} at {place} with {headers:?}");
                }
                // An expression has a value for everybody; for nobody in particular it is one without claims.
                let text = if place == "/app/off" { vec![] } else { vec!["%20GET"] };
                assert_eq!(named(&seen, "x-text"), text, "{place} with {headers:?}");
            }
            let seen = ask("/app/untold", Some(&token));
            for (name, _) in identity {
                assert_eq!(named(&seen, name), [""; 0], "{name} where nothing is told with {headers:?}");
            }
        }
        // That all of them arrived shows that the next test counts what arrives.
        assert_eq!(self.count(), before + 6 * forgeries.len());
    }

    fn assert_refusals_do_not_arrive(&self) {
        let (server, before) = (&self.server, self.count());
        let token = server.token().sign();
        server.refused(&server.get("/app/x"), 401, "token-missing");
        server.refused(&server.get("/app/x").header("X-User", "eve"), 401, "token-missing");
        server.refused(&server.get("/app/x").bearer(server.token().forge()), 401, "signature-invalid");
        server.refused(&server.get("/app/x").bearer(&token).header("X-Token", &token), 400, "credentials-ambiguous");
        server.refused(&server.get("/app/x").from("127.0.0.66").bearer(&token), 403, "address-denied");
        server.refused(&server.get("/app/admin").bearer(&token), 403, "scope-insufficient");
        let cookie = server.request("POST", "/app/x").header("Cookie", format!("session={token}"));
        server.refused(&cookie.body("x").header("Origin", "http://evil.test"), 403, "csrf");
        assert_eq!(self.count(), before);
    }

    fn assert_credentials_can_be_withheld(&self) {
        let token = self.server.token().sign();
        let signature = token.rsplit('.').next().unwrap();
        let get = |target: &str| self.server.get(target);
        for request in [
            get("/app/withheld?a=1&b=2").bearer(&token),
            get("/app/withheld?a=1&b=2").header("X-Token", &token),
            get("/app/withheld?a=1&b=2").header("Cookie", format!("a=1; session={token}; b=2")),
            get(&format!("/app/withheld?a=1&access_token={token}&b=2")),
        ] {
            let answer = request.send();
            let seen = (self.told)(&answer);
            assert_eq!((seen.target.as_str(), named(&seen, "x-user")), ("/app/withheld?a=1&b=2", vec!["alice"]));
            assert!(!answer.text().contains(signature), "{}", answer.text());
        }
        let told = get("/app/told").header("Cookie", format!("session={token}")).send();
        assert!(told.text().contains(signature), "{}", told.text());
    }

    fn count(&self) -> usize {
        (self.count)(&self.server)
    }
}

/// All values under any name that an application could take for `name`.
fn named<'s>(seen: &'s Seen, name: &str) -> Vec<&'s str> {
    let fold = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
    let found = seen.headers.iter().filter(|field| fold(&field.0).trim_start_matches("http-") == name);
    found.map(|field| field.1.as_str()).collect()
}

fn start(site: Site, directives: &str) -> Server {
    site.load(&["authz_user"]).start(&format!("{MAIN}{directives}{GATE}"))
}

/// Over a protocol of which httpd is told only the scheme.
fn assert_backend_holds(module: &'static str, backend: &Backend) {
    let server = start(Site::new().load(&[module]), &format!("ProxyPass /app {}/app", backend.url()));
    Way { server, count: &|_| backend.count(), told: Answer::seen }.assert_holds();
}

#[test]
fn http() {
    let server = start(Site::new(), "ProxyPass /app ${APP}/app");
    Way { server, count: &|server| server.app.count(), told: Answer::seen }.assert_holds();
}

#[test]
fn http_upgrading() {
    let server = start(Site::new(), "ProxyPass /app ${APP}/app upgrade=ANY");
    Way { server, count: &|server| server.app.count(), told: Answer::seen }.assert_holds();
}

#[test]
fn http2() {
    let behind = Site::new().without_gate().start("ProxyPass / ${APP}/");
    let forward = format!("ProxyPass /app h2c://{}/app", behind.address());
    let server = start(Site::new().load(&["proxy_http2"]), &forward);
    Way { server, count: &|_| behind.app.count(), told: Answer::seen }.assert_holds();
    let log = std::fs::read_to_string(behind.root.join("logs/access.log")).unwrap();
    assert!(!log.is_empty() && log.lines().all(|line| line.contains("HTTP/2.0")), "{log}");
}

#[test]
fn ajp() {
    assert_backend_holds("proxy_ajp", &Backend::ajp());
}

#[test]
fn fastcgi() {
    assert_backend_holds("proxy_fcgi", &Backend::fastcgi());
}

#[test]
fn scgi() {
    assert_backend_holds("proxy_scgi", &Backend::scgi());
}

#[test]
fn uwsgi() {
    assert_backend_holds("proxy_uwsgi", &Backend::uwsgi());
}

const BALANCER: [&str; 3] = ["proxy_balancer", "slotmem_shm", "lbmethod_byrequests"];

#[test]
fn balancer() {
    let other = Backend::ajp();
    let forward = format!(
        r#"<Proxy "balancer://pool">
            BalancerMember "${{APP}}"
            BalancerMember "{}"
            ProxySet lbmethod=byrequests
        </Proxy>
        ProxyPass /app balancer://pool/app"#,
        other.url()
    );
    let server = start(Site::new().load(&BALANCER).load(&["proxy_ajp"]), &forward);
    let before = other.count();
    Way { server, count: &|server| server.app.count() + other.count(), told: Answer::seen }.assert_holds();
    assert!(other.count() > before, "one member got everything");
}

#[test]
fn rewritten_in_a_folder() {
    let site = Site::new();
    site.write("html/app/other", "");
    let server = start(
        site,
        r#"<Directory "${ROOT}/html/app">
            RewriteEngine on
            RewriteRule "^(.*)$" "${APP}/app/$1" [P]
        </Directory>"#,
    );
    Way { server, count: &|server| server.app.count(), told: Answer::seen }.assert_holds();
}

/// The answer of a program that writes its environment.
fn environment(answer: &Answer) -> Seen {
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = answer.text();
    let headers: Vec<(String, String)> =
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect();
    let variable = |name: &str| headers.iter().find(|field| field.0 == name).map(|field| field.1.clone()).unwrap();
    Seen { method: variable("REQUEST_METHOD"), target: variable("REQUEST_URI"), headers, body_length: 0 }
}

fn assert_cgi_holds(mpm: Mpm, module: &'static str) {
    let site = Site::new().mpm(mpm).load(&[module]);
    site.write("runs", "");
    site.chmod("runs", 0o666);
    let runs = site.root.join("runs");
    let program =
        format!("#!/bin/sh\necho x >>{}\nprintf 'Content-Type: text/plain\\n\\n'\nexec env\n", runs.display());
    site.write("html/cgi/environment", program);
    site.chmod("html/cgi/environment", 0o755);
    let server = start(site, r#"ScriptAlias /app "${ROOT}/html/cgi/environment""#);
    let count = |_: &Server| std::fs::read_to_string(&runs).unwrap().lines().count();
    Way { server, count: &count, told: environment }.assert_holds();
}

#[test]
fn cgi() {
    assert_cgi_holds(Mpm::Prefork, "cgi");
}

#[test]
fn cgi_daemon() {
    assert_cgi_holds(Mpm::Event, "cgid");
}

/// The two ways to forward WebSockets: mod_proxy_http itself, and mod_proxy_wstunnel.
fn websockets() -> [(&'static str, Server); 2] {
    ["http", "ws"].map(|scheme| {
        let site = Site::new().load(&["proxy_wstunnel"]);
        let (port, upgrade) = (site.app.url(), if scheme == "http" { " upgrade=websocket" } else { "" });
        let url = port.replace("http://", &format!("{scheme}://"));
        (scheme, site.start(&format!("{MAIN}ProxyPass /app/echo {url}/echo{upgrade}\n{GATE}")))
    })
}

fn upgrade(server: &Server) -> Request {
    let request = server.get("/app/echo").header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13");
    request.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn a_websocket_is_opened_for_who_has_a_token() {
    for (scheme, server) in websockets() {
        for (connection, forged) in
            [("Upgrade", ""), ("Upgrade", "X-User"), ("Upgrade, X-User", "X-User"), ("x_user, Upgrade", "X_User")]
        {
            let mut request = upgrade(&server).bearer(server.token().sign()).header("Connection", connection);
            if !forged.is_empty() {
                request = request.header(forged, "eve");
            }
            let mut socket = server.connect();
            socket.send(request.bytes());
            let answer = socket.answer();
            assert_eq!((answer.status, answer.header("Upgrade")), (101, Some("websocket")), "{scheme}: {answer:?}");
            let seen = socket.line();
            assert!(seen.contains(r#"["X-User","alice"]"#) && !seen.contains("eve"), "{scheme}: {seen}");
            for message in ["hello\n", "again\n"] {
                socket.send(message);
                assert_eq!(socket.line(), message, "{scheme}");
            }
        }
    }
}

#[test]
fn a_websocket_is_not_opened_for_anybody_else() {
    for (scheme, server) in websockets() {
        let token = server.token().sign();
        let refused = |request: Request, status: u16, reason: &str| {
            let request = request.header("Connection", "Upgrade");
            let mut socket = server.connect();
            // What follows is not for the application, either.
            socket.send([request.bytes(), upgrade(&server).header("Connection", "Upgrade").bytes()].concat());
            assert_eq!(socket.answer().status, status, "{scheme} {reason}");
            assert_eq!(socket.answer().status, 401, "{scheme} {reason}");
            server.refused(&request, status, reason);
        };
        refused(upgrade(&server), 401, "token-missing");
        refused(upgrade(&server).bearer(server.token().forge()), 401, "signature-invalid");
        let cookie = || upgrade(&server).header("Cookie", format!("session={token}"));
        refused(cookie().header("Origin", "http://evil.test"), 403, "csrf");
        // A page of which the browser says nothing is not known to be this site's.
        refused(cookie(), 403, "csrf");
        assert_eq!(server.app.connections(), 0, "{scheme}");
        let mut socket: Connection = server.connect();
        socket.send(cookie().header("Origin", "http://gate.test").header("Connection", "Upgrade").bytes());
        assert_eq!(socket.answer().status, 101, "{scheme}");
        assert_eq!(server.app.connections(), 1, "{scheme}");
    }
}

/// What the page of mod_proxy_balancer shows and changes is behind the gate as everything else.
#[test]
fn the_manager_of_balancers_is_gated() {
    let server = Site::new().load(&BALANCER).start(&format!(
        r#"{MAIN}
        <Proxy "balancer://pool">
            BalancerMember "${{APP}}"
        </Proxy>
        <Location "/">
            JwtGate on
        </Location>
        <Location "/manager">
            SetHandler balancer-manager
        </Location>"#
    ));
    for target in ["/manager", "/manager/x", "/manager?b=pool", "//manager"] {
        server.refused(&server.get(target), 401, "token-missing");
    }
    let page =
        server.get("/manager").header("Referer", "http://gate.test/manager").bearer(server.token().sign()).send();
    assert!(page.status == 200 && page.text().contains("balancer://pool"), "{page:?}");
}

#[test]
fn a_gate_of_a_folder_holds_for_what_the_folder_forwards() {
    let site = Site::new();
    let forward = format!("{}/forwarded", site.app.url());
    site.write("html/rule/x", "");
    site.write("html/own-rule/.htaccess", format!("RewriteEngine on\nRewriteRule ^ {forward} [P]\n"));
    site.write("html/own-handler/.htaccess", format!("SetHandler proxy:{forward}\n"));
    site.write("html/own-handler/x", "");
    let server = site.start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            AllowOverride FileInfo
            Options FollowSymLinks
            JwtGate on
            JwtGateForward X-User subject
        </Directory>
        <Directory "${{ROOT}}/html/rule">
            RewriteEngine on
            RewriteRule "^" "${{APP}}/forwarded" [P]
        </Directory>"#
    ));
    for (n, target) in ["/rule/x", "/own-rule/x", "/own-handler/x"].into_iter().enumerate() {
        server.refused(&server.get(target).header("X-User", "eve"), 401, "token-missing");
        assert_eq!(server.app.count(), n, "{target}");
        let seen = server.get(target).bearer(server.token().sign()).header("X-User", "eve").send().seen();
        assert_eq!(seen.header("X-User"), Some("alice"), "{target}");
    }
}
