//! Spellings of a path, against every way to forward and an application that understands all of them: what it keeps
//! secret is reached without a token nowhere, or the configuration is warned about at start.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::ports::Port;
use crate::harness::{Answer, Connection, MAIN, Server, Site, await_true};

const FORMS: &str = include_str!("data/path_forms.txt");

/// Everything that forwards, with APP for the application.
const WAYS: &[(&str, &str)] = &[
    ("plain", "ProxyPass / APP/"),
    ("nocanon", "ProxyPass / APP/ nocanon"),
    ("encoded", "ProxyPass / APP/ mapping=encoded"),
    ("servlet", "ProxyPass / APP/ mapping=servlet"),
    ("location", "<Location \"/\">\nProxyPass APP/\n</Location>"),
    ("location-nocanon", "<Location \"/\">\nProxyPass APP/ nocanon\n</Location>"),
    ("match", "ProxyPassMatch \"^/(.*)$\" \"APP/$1\""),
    ("match-nocanon", "ProxyPassMatch \"^/(.*)$\" \"APP/$1\" nocanon"),
    ("rewrite", "RewriteEngine on\nRewriteRule \"^/(.*)$\" \"APP/$1\" [P]"),
    ("rewrite-unsafe", "RewriteEngine on\nRewriteRule \"^/(.*)$\" \"APP/$1\" [P,UnsafeAllow3F]"),
    (
        "rewrite-raw",
        "RewriteEngine on\nRewriteCond %{THE_REQUEST} \"^GET (/[^? ]*)\"\nRewriteRule \"^/\" \"APP%1\" [P,NE]",
    ),
    (
        "rewrite-location",
        "<Location \"/\">\nRewriteEngine on\nRewriteRule \"^\" \"APP%{REQUEST_URI}\" [P]\n</Location>",
    ),
    (
        "rewrite-location-raw",
        "<Location \"/\">\nRewriteEngine on\nRewriteCond %{THE_REQUEST} \"^GET (/[^? ]*)\"\n\
         RewriteRule \"^\" \"APP%1\" [P,NE]\n</Location>",
    ),
    ("rewrite-directory", "<Directory \"/\">\nRewriteEngine on\nRewriteRule \"^(.*)$\" \"APP/$1\" [P]\n</Directory>"),
    ("handler", "<Location \"/\">\nSetHandler \"proxy:APP\"\n</Location>"),
    ("balancer", "<Proxy \"balancer://pool-NAME\">\nBalancerMember APP\n</Proxy>\nProxyPass / balancer://pool-NAME/"),
    (
        "balancer-nocanon",
        "<Proxy \"balancer://pool-NAME\">\nBalancerMember APP\n</Proxy>\nProxyPass / balancer://pool-NAME/ nocanon",
    ),
];

/// What changes how httpd understands a path.
const READINGS: [&str; 4] =
    ["", "AllowEncodedSlashes On", "AllowEncodedSlashes NoDecode", "MergeSlashes Off\nAllowEncodedSlashes NoDecode"];

/// The gate as the documents have it: on everything, but for exceptions.
const DOCUMENTED: &str = "<Location \"/\">\nJwtGate on\n</Location>\n\
                          <Location \"/public\">\nJwtGate off\n</Location>\n\
                          <Location \"/docs\">\nJwtGateToken none\n</Location>\n\
                          <LocationMatch \"^/health$\">\nJwtGateToken none\n</LocationMatch>";

const OPEN: [&str; 3] = ["/public", "/docs", "/health"];

/// Others, and with what they are warned about.
const RISKY: [(&str, &str, &str); 4] = [
    ("part", "JG2103", "<Location \"/admin\">\nJwtGate on\n</Location>"),
    ("part-match", "JG2103", "<LocationMatch \"^/admin\">\nJwtGate on\n</LocationMatch>"),
    (
        "part-token",
        "JG2103",
        "<Location \"/\">\nJwtGate on\nJwtGateToken none\n</Location>\n\
         <Location \"/admin\">\nJwtGateToken required\n</Location>",
    ),
    (
        "pattern",
        "JG2108",
        "<Location \"/\">\nJwtGate on\n</Location>\n<LocationMatch \"\\.css$\">\nJwtGate off\n</LocationMatch>",
    ),
];

/// `app/lenient.py`; ends with this value.
struct Lenient {
    process: Child,
    port: Port,
}

impl Lenient {
    fn start() -> Self {
        let port = Port::reserve();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("app/lenient.py");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "python3"]).arg(program).arg(port.number.to_string());
        let process = command.stdin(Stdio::null()).spawn().unwrap();
        let lenient = Self { process, port };
        await_true("the application to serve", || TcpStream::connect(("127.0.0.1", lenient.port.number)).is_ok());
        lenient
    }
}

impl Drop for Lenient {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A virtual host, in a file of its own, so that what is said of it at start can be told apart.
struct Host {
    name: String,
    text: String,
}

impl Host {
    fn new(name: &str, way: &str, reading: &str, gate: &str, app: &Lenient) -> Self {
        let way = way.replace("APP", &format!("http://127.0.0.1:{}", app.port.number)).replace("NAME", name);
        // SetHandler forwards the name of the file: let that be the path.
        let text = format!(
            "<VirtualHost *:${{PORT}}>\nServerName {name}\nDocumentRoot /\n{reading}\n{gate}\n{way}\n</VirtualHost>\n"
        );
        Self { name: name.to_owned(), text }
    }

    /// What is said of it at start, by its number.
    fn warnings(&self, server: &Server) -> Vec<String> {
        let file = format!("/conf/{}.conf)", self.name);
        let log = server.log.text();
        let lines = log.lines().filter(|line| line.contains(&file)).filter_map(|line| line.split_once("JG2"));
        lines.map(|(_, line)| format!("JG2{}", &line[..3])).collect()
    }
}

/// Everything that is asked of a virtual host.
fn targets(host: &str) -> Vec<String> {
    let lines = FORMS.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut targets: Vec<String> = Vec::new();
    for line in lines.map(|line| line.replace("HOST", host)) {
        if line.contains("OPEN") {
            targets.extend(OPEN.map(|open| line.replace("OPEN", open)));
        } else {
            targets.push(line);
        }
    }
    for (repeated, end) in
        [("/..", "/admin"), ("/..;", "/admin"), ("/%252e%252e", "/admin"), ("/x/..", "/admin"), ("/", "admin")]
    {
        targets.push(format!("/public{}{end}", repeated.repeat(300)));
    }
    targets.push(format!("/public/%{}2e./admin", "25".repeat(2000)));
    targets
}

/// What is asked where there are no such exceptions.
fn targets_outside_of_exceptions(host: &str) -> Vec<String> {
    targets(host).into_iter().filter(|target| OPEN.iter().all(|open| !target.contains(open))).collect()
}

/// Asks over connections that are kept as long as the server keeps them.
struct Client {
    to: SocketAddr,
    connection: Option<Connection>,
}

impl Client {
    fn get(&mut self, host: &str, target: &str, fields: &str) -> io::Result<Answer> {
        let connection = self.connection.get_or_insert_with(|| Connection::open(self.to, None));
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        let answer = connection.try_answer(false);
        let kept = answer.as_ref().is_ok_and(|answer| answer.header("Connection") != Some("close"));
        if !kept {
            self.connection = None;
        }
        answer
    }
}

/// By which of these spellings the secret is reached without a token.
fn leaks(client: &mut Client, host: &Host, mut targets: Vec<String>) -> Vec<String> {
    targets.retain(|target| {
        // Some spellings are no request at all: then the server has nothing to say but 400, or closes the connection.
        client.get(&host.name, target, "").is_ok_and(|answer| answer.text() == "secret")
    });
    targets
}

/// A server with all these virtual hosts.
fn start(hosts: &[Host]) -> Server {
    let site = Site::new().load(&["proxy_balancer", "slotmem_shm", "lbmethod_byrequests"]);
    let mut text = MAIN.to_owned();
    for host in hosts {
        site.write(&format!("conf/{}.conf", host.name), &host.text);
        text += &format!("Include conf/{}.conf\n", host.name);
    }
    site.start(&text)
}

/// httpd refuses some spellings by itself, and forwards some another way than it was told to.
fn expect_httpds_own_warnings(server: &mut Server) {
    for id in ["AH10244: invalid URI path", "AH10508: Unsafe URL", "AH01136: Unescaped URL path"] {
        server.expect_log(id);
    }
}

/// Leaks by virtual host, asked for by several clients at once.
fn leaks_of<'h>(
    server: &Server,
    hosts: &'h [Host],
    targets: fn(&str) -> Vec<String>,
) -> BTreeMap<&'h str, Vec<String>> {
    let to = server.address();
    std::thread::scope(|scope| {
        let shares = hosts.chunks(hosts.len().div_ceil(4)).map(|share| {
            scope.spawn(move || {
                let mut client = Client { to, connection: None };
                share
                    .iter()
                    .map(|host| (host.name.as_str(), leaks(&mut client, host, targets(&host.name))))
                    .collect::<Vec<_>>()
            })
        });
        shares.collect::<Vec<_>>().into_iter().flat_map(|share| share.join().unwrap()).collect()
    })
}

#[test]
fn exceptions_from_a_gate_on_everything_leak_nothing() {
    let app = Lenient::start();
    let hosts: Vec<Host> = WAYS
        .iter()
        .flat_map(|way| (0..).zip(READINGS).map(move |reading| (way, reading)))
        .map(|((way, directives), (n, reading))| {
            Host::new(&format!("{way}-{n}"), directives, reading, DOCUMENTED, &app)
        })
        .collect();
    let mut server = start(&hosts);
    expect_httpds_own_warnings(&mut server);
    let token = server.token().sign();
    let mut client = Client { to: server.address(), connection: None };
    for host in &hosts {
        assert_eq!(host.warnings(&server), Vec::<String>::new(), "{}", host.name);
        for open in OPEN.into_iter().chain(["/public/x%20y"]) {
            assert_eq!(client.get(&host.name, open, "").unwrap().text(), "public", "{} {open}", host.name);
        }
        let answer = client.get(&host.name, "/admin", &format!("Authorization: Bearer {token}\r\n")).unwrap();
        assert_eq!(answer.text(), "secret", "{}", host.name);
    }
    let mut leaks = leaks_of(&server, &hosts, targets);
    leaks.retain(|_, leaks| !leaks.is_empty());
    assert!(leaks.is_empty(), "{leaks:#?}");
    server.assert_running();
}

#[test]
fn http2_has_no_other_spellings() {
    let app = Lenient::start();
    let hosts: Vec<Host> = WAYS
        .iter()
        .filter(|(way, _)| ["plain", "nocanon", "rewrite", "handler"].contains(way))
        .map(|(way, directives)| Host::new(way, directives, READINGS[2], DOCUMENTED, &app))
        .collect();
    let mut server = start(&hosts);
    expect_httpds_own_warnings(&mut server);
    let mut connection = server.http2();
    let mut asked = 0;
    for host in &hosts {
        let mut get = |target: &str| {
            let request = http::Request::get(format!("http://{}{target}", host.name)).body(());
            // What the client takes for no URL cannot be asked for.
            connection.send(request.ok()?).ok()
        };
        assert_eq!(get("/public").unwrap().text(), "public");
        for target in targets(&host.name) {
            if target.starts_with('/')
                && let Some(answer) = get(&target)
            {
                asked += 1;
                assert_ne!(answer.text(), "secret", "{} {target}", host.name);
            }
        }
    }
    assert!(asked > 600, "{asked} spellings were asked for");
}

#[test]
fn a_gate_on_all_that_is_forwarded_leaks_nothing() {
    let app = Lenient::start();
    let ways = [
        ("plain", "ProxyPass /admin APP/admin"),
        ("nocanon", "ProxyPass /admin APP/admin nocanon"),
        ("encoded", "ProxyPass /admin APP/admin mapping=encoded"),
        ("servlet", "ProxyPass /admin APP/admin mapping=servlet"),
        ("match", "ProxyPassMatch \"^/admin/(.*)$\" \"APP/admin/$1\""),
        ("rewrite", "RewriteEngine on\nRewriteRule \"^/admin/(.*)$\" \"APP/admin/$1\" [P]"),
        ("location", "<Location \"/admin\">\nProxyPass APP/admin nocanon\n</Location>"),
    ];
    let hosts: Vec<Host> = ways
        .iter()
        .flat_map(|way| (0..).zip(READINGS).map(move |reading| (way, reading)))
        .map(|((way, directives), (n, reading))| {
            Host::new(&format!("{way}-{n}"), directives, reading, RISKY[0].2, &app)
        })
        .collect();
    let mut server = start(&hosts);
    for id in ["AH10244: invalid URI path", "AH01136: Unescaped URL path"] {
        server.expect_log(id);
    }
    let bearer = format!("Authorization: Bearer {}\r\n", server.token().sign());
    let mut client = Client { to: server.address(), connection: None };
    for host in &hosts {
        assert_eq!(host.warnings(&server), Vec::<String>::new(), "{}", host.name);
        assert_eq!(client.get(&host.name, "/admin/x", &bearer).unwrap().text(), "secret", "{}", host.name);
    }
    let mut leaks = leaks_of(&server, &hosts, targets_outside_of_exceptions);
    leaks.retain(|_, leaks| !leaks.is_empty());
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn what_leaks_is_warned_about() {
    let app = Lenient::start();
    let mut hosts = Vec::new();
    for (name, _, gate) in RISKY {
        for (way, directives) in WAYS {
            hosts.push(Host::new(&format!("{name}.{way}"), directives, "", gate, &app));
        }
    }
    let mut server = start(&hosts);
    expect_httpds_own_warnings(&mut server);
    for (_, id, _) in RISKY {
        server.expect_log(id);
    }
    let leaks = leaks_of(&server, &hosts, targets_outside_of_exceptions);
    for (name, id, _) in RISKY {
        for (way, _) in WAYS {
            let host = hosts.iter().find(|host| host.name == format!("{name}.{way}")).unwrap();
            let leaked = &leaks[host.name.as_str()];
            assert_eq!(host.warnings(&server), [id], "{}", host.name);
            assert!(!leaked.is_empty(), "{}: nothing leaks, and it is warned about", host.name);
        }
    }
}

#[test]
fn a_hidden_climb_is_refused_wherever_it_is() {
    let app = Lenient::start();
    let plain = WAYS[0].1;
    let parts = "<Location \"/\">\nJwtGate on\n</Location>\n<Location \"/open\">\nJwtGate off\n</Location>\n\
                 <Location \"/admin\">\nRequire jwt-group admins\n</Location>\n\
                 Header always set X-Reason \"expr=%{reqenv:JWT_GATE_REASON}\"";
    let hosts = [
        Host::new("gated", plain, "", parts, &app),
        Host::new("raw", WAYS[1].1, "", parts, &app),
        Host::new("ungated", plain, "", "", &app),
    ];
    let server = start(&hosts);
    let token = server.token().sign();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let mut client = Client { to: server.address(), connection: None };
    for (host, target) in
        [("gated", "/x/..;/admin"), ("gated", "/open/..;/admin"), ("raw", "/x/../y"), ("raw", "/open/%2e%2e/open/x")]
    {
        let before = server.log.count("JG1028 path-ambiguous: refused with 400");
        let answer = client.get(host, target, &bearer).unwrap();
        assert_eq!((answer.status, answer.header("X-Reason")), (400, Some("path-ambiguous")), "{host}{target}");
        assert_eq!(answer.header("Content-Type"), Some("application/problem+json"));
        assert_eq!(answer.header("WWW-Authenticate"), None);
        assert_eq!(server.log.count("JG1028 path-ambiguous: refused with 400"), before + 1);
    }
    for (host, target) in [
        ("gated", "/x/../y"),
        ("gated", "/open/../open/x"),
        ("gated", "/open/main...branch/v1..v2/..x/x../100%25"),
        ("gated", "/open?back=/x/../y"),
        ("raw", "/open?back=/x/../y"),
    ] {
        assert_eq!(client.get(host, target, &bearer).unwrap().text(), "public", "{host}{target}");
    }
    assert_eq!(client.get("ungated", "/x/..;/admin", "").unwrap().text(), "secret");
}
