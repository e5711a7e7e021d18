//! Behaviours of httpd and its modules that are easily forgotten, each where it could open a way round the gate.
//!
//! What has no test here or elsewhere, and why:
//! * `ap_some_authn_required` asks the access hooks once more. No module of httpd calls it; what is asked more often than
//!   once is shown with mod_allowmethods below.
//! * `PROPFIND` and `COPY` of a folder are carried out by mod_dav itself, file by file, without a request for each: a
//!   section for a file inside does not hold for them, be it the gate's or httpd's own. A tree that DAV serves needs
//!   one policy.
//! * `X-Sendfile` and its like (`ProxySCGISendfile`) name a file to httpd, not a request. They are off by default, and
//!   the application that sends them is trusted with its files.
//! * Host names in `X-Forwarded-For` are looked up by mod_remoteip before any module can have a say.
//! * Locks that a dead child holds: there are none in shared memory.

use crate::harness::http2::Http2;
use crate::harness::{MAIN, Mpm, Request, Server, Site};

/// A program that tells what it was asked for, and by whom.
const FRONT: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n\
                     echo \"front controller for $REQUEST_URI of user<$REMOTE_USER>\"\n";

/// A site with that program at `/cgi/front`.
fn with_front_controller() -> Site {
    let site = Site::new().mpm(Mpm::Prefork).load(&["cgi", "authz_user"]);
    site.write("cgi/front", FRONT);
    site.chmod("cgi/front", 0o755);
    site
}

/// The page for a refusal is what `ErrorDocument` names, not what mod_dir or mod_rewrite finds for it if it is missing.
#[test]
fn a_missing_error_document_does_not_fall_back_to_the_application() {
    let fallback = |to: &str| format!("FallbackResource {to}");
    let rewritten =
        |to: &str| format!("RewriteEngine on\nRewriteCond %{{REQUEST_FILENAME}} !-f\nRewriteRule ^ {to} [L]");
    for (front, page, rule) in [
        ("on", "on", fallback("/cgi/front")),
        ("off", "on", fallback("/cgi/front")),
        ("off", "off", fallback("/cgi/front")),
        ("on", "on", fallback("/app/front")),
        ("off", "on", fallback("/app/front")),
        ("off", "off", fallback("/app/front")),
        ("off", "on", rewritten("/cgi/front")),
        ("off", "off", rewritten("/cgi/front")),
    ] {
        let case = format!("the program {front}, the page {page}, {rule}");
        let site = with_front_controller();
        site.write("html/pages/found.html", "a page");
        let mut server = site.start(&format!(
            r#"{MAIN}
            ScriptAlias /cgi/front "${{ROOT}}/cgi/front"
            ProxyPass /app ${{APP}}/app
            <Directory "${{ROOT}}/html">
                {rule}
            </Directory>
            <Location "/">
                JwtGate on
                JwtGateCredentials bearer cookie:session
                ErrorDocument 401 /pages/missing.html
                ErrorDocument 403 /pages/missing.html
            </Location>
            <Location "/orders/admin">
                Require jwt-scope admin
            </Location>
            <Location "/orders/well">
                ErrorDocument 401 /pages/found.html
            </Location>
            <LocationMatch "^/(cgi|app)/front">
                JwtGate {front}
            </LocationMatch>
            <Location "/pages">
                JwtGate {page}
            </Location>"#
        ));
        server.expect_log("AH01630");
        let token = server.token().sign();
        let allowed = server.get("/orders").bearer(&token).send();
        assert!(allowed.status == 200 && allowed.text().contains("front"), "{case}: {allowed:?}");
        let before = server.app.count();
        let cookie = server.request("POST", "/orders").header("Cookie", format!("session={token}"));
        for (request, status, reason) in [
            (server.get("/orders"), 401, "token-missing"),
            (server.get("/orders").bearer(server.token().forge()), 401, "signature-invalid"),
            (server.get("/orders/admin").bearer(&token), 403, "scope-insufficient"),
            (cookie.header("Origin", "http://evil.test"), 403, "csrf"),
        ] {
            let answer = request.send();
            assert_eq!(answer.status, status, "{case}, {reason}");
            assert!(server.log.count(reason) > 0, "{case}, {reason}");
            assert!(!answer.text().contains("front"), "{case}, {reason}: {}", answer.text());
        }
        assert_eq!(server.app.count(), before, "{case}");
        assert_eq!(server.get("/orders/well").send().text(), "a page", "{case}");
    }
}

/// A page may be named without what mod_dir and mod_negotiation find by themselves.
#[test]
fn an_error_document_may_be_found_by_the_beginning_of_its_name() {
    let site = Site::new().load(&["negotiation"]);
    site.write("html/pages/index.html", "found in the folder");
    site.write("html/pages/401.html", "found by its name");
    let server = site.start(&format!(
        r#"{MAIN}
        DirectoryIndex index.html
        <Directory "${{ROOT}}/html">
            Options +MultiViews
            AddType text/html .html
        </Directory>
        <Location "/">
            JwtGate on
            ErrorDocument 401 /pages/
        </Location>
        <Location "/by-name">
            ErrorDocument 401 /pages/401
        </Location>
        <Location "/pages">
            JwtGate off
        </Location>"#
    ));
    for (target, text) in [("/", "found in the folder"), ("/by-name", "found by its name")] {
        let answer = server.refused(&server.get(target), 401, "token-missing");
        assert_eq!((answer.text().as_str(), answer.header("WWW-Authenticate").is_some()), (text, true));
    }
}

/// Whether the sections of the page are those of what was refused, so that httpd lets it have the user, or others.
#[test]
fn the_page_for_a_refusal_has_no_user() {
    let site = Site::new().load(&["include"]);
    site.write("html/page.shtml", "user<<!--#echo var=\"REMOTE_USER\" -->>");
    site.write("html/other/page.shtml", "user<<!--#echo var=\"REMOTE_USER\" -->>");
    let mut server = site.start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location "/">
            JwtGate on
            Require jwt-scope read
            ErrorDocument 403 /page.shtml
        </Location>
        <Location "/elsewhere">
            ErrorDocument 403 /other/page.shtml
        </Location>
        <Location "/other">
            Options +Includes
        </Location>"#
    ));
    server.expect_log("AH01630");
    let shown = server.get("/page.shtml").bearer(server.token().claim("scope", "read").sign()).send();
    assert_eq!(shown.text(), "user<alice>");
    for target in ["/index.html", "/elsewhere"] {
        let request = server.get(target).bearer(server.token().sign());
        assert_eq!(server.refused(&request, 403, "scope-insufficient").text(), "user<(none)>", "{target}");
    }
}

/// The document is written by the gate, which `Satisfy Any` cannot let pass by. Addresses still come first, where the
/// gate is on.
#[test]
fn a_document_about_a_resource_is_public_also_under_satisfy_any() {
    let site = Site::new().load(&["access_compat"]);
    let document = "/.well-known/oauth-protected-resource";
    site.write(&format!("html{document}/on/.htaccess"), "Satisfy Any\nRequire all granted\n");
    site.write(&format!("html{document}/on/api"), "the secret");
    let mut server = site.start(&format!(
        r#"{MAIN}
        ProxyPass /.well-known !
        ProxyPass / ${{APP}}/
        <Directory "${{ROOT}}/html">
            AllowOverride AuthConfig
        </Directory>
        <Location "/off/api">
            JwtGate on
            JwtGateResource https://api.test/off/api
        </Location>
        <Location "/on/api">
            JwtGate on
            JwtGateResource https://api.test/on/api
        </Location>
        <Location "{document}">
            JwtGate on
            JwtGateDeny 127.0.0.66
        </Location>
        <Location "{document}/off">
            JwtGate off
            Satisfy Any
            Require all granted
        </Location>"#
    ));
    for place in ["/off/api", "/on/api"] {
        let answer = server.get(&format!("{document}{place}")).send();
        assert_eq!((answer.status, &answer.json()["resource"]), (200, &format!("https://api.test{place}").into()));
    }
    let denied = server.refused(&server.get(&format!("{document}/on/api")).from("127.0.0.66"), 403, "address-denied");
    assert!(!denied.text().contains("secret") && !denied.text().contains("resource"), "{denied:?}");
    server.expect_log("Satisfy");
    assert_eq!(server.get(&format!("{document}/on/")).status(), 500);
    assert_eq!(server.app.count(), 0);
}

/// A program may answer with a path, of which httpd makes a request inside.
#[test]
fn where_a_program_leads_to_is_gated() {
    let site = Site::new().mpm(Mpm::Prefork).load(&["cgi"]);
    site.write("cgi/lead", "#!/bin/sh\nprintf 'Location: /secret/%s\\n\\n' \"${QUERY_STRING}\"\n");
    site.chmod("cgi/lead", 0o755);
    site.write("html/secret/file", "the secret");
    let server = site.start(&format!(
        r#"{MAIN}
        ScriptAlias /lead "${{ROOT}}/cgi/lead"
        ProxyPass /secret/app ${{APP}}
        <Location "/secret">
            JwtGate on
            JwtGateForward X-User subject
        </Location>"#
    ));
    for target in ["/lead?file", "/lead?app/x"] {
        let answer = server.refused(&server.get(target).header("X-User", "eve"), 401, "token-missing");
        assert!(!answer.text().contains("the secret") && answer.header("WWW-Authenticate").is_some(), "{answer:?}");
    }
    assert_eq!(server.app.count(), 0);
    let get = |target| server.get(target).bearer(server.token().sign()).header("X-User", "eve").send();
    assert_eq!(get("/lead?file").text(), "the secret");
    assert_eq!(get("/lead?app/x").seen().all("X-User"), ["alice"]);
}

/// mod_allowmethods asks for each request anew, so that httpd no longer skips its hooks where nothing has changed.
#[test]
fn a_module_that_has_every_part_checked_changes_no_count() {
    let site = Site::new().load(&["include", "allowmethods"]);
    site.write("html/part.html", "part");
    site.write("html/page.shtml", "<!--#include virtual=\"/part.html\" --><!--#include virtual=\"/part.html\" -->");
    let server = site.start(&format!(
        r#"{MAIN}
        DirectoryIndex page.shtml
        <Directory "${{ROOT}}/html">
            Options +Includes
            AddOutputFilter INCLUDES .shtml
        </Directory>
        <Location "/">
            JwtGate on
            JwtGateLimit mine key=subject rate=1/d burst=10
            ErrorDocument 404 /part.html
        </Location>"#
    ));
    let token = server.token().sign();
    for (n, (target, text)) in
        [("/", "partpart"), ("/page.shtml", "partpart"), ("/missing", "part")].into_iter().enumerate()
    {
        let answer = server.get(target).bearer(&token).send();
        assert_eq!(answer.text(), text);
        assert_eq!(answer.header("RateLimit").unwrap().split(';').nth(1), Some(&*format!("r={}", 9 - n)), "{target}");
        server.refused(&server.get(target), 401, "token-missing");
    }
}

#[test]
fn dav_writes_only_where_the_gate_lets_it() {
    let site = Site::new().load(&["dav", "dav_fs"]);
    for folder in ["open", "gated"] {
        site.write(&format!("html/{folder}/file"), folder);
        site.chmod(&format!("html/{folder}"), 0o777);
    }
    site.write("html/gated/other", "the secret");
    site.write("locks/x", "");
    site.chmod("locks", 0o777);
    let server = site.start(&format!(
        r#"{MAIN}
        DavLockDB "${{ROOT}}/locks/db"
        <Location "/">
            Dav on
        </Location>
        <Location "/gated">
            JwtGate on
        </Location>"#
    ));
    let send = |method: &str, target: &str, destination: &str| {
        server.request(method, target).header("Destination", format!("http://gate.test{destination}"))
    };
    for (method, target) in
        [("PROPFIND", "/gated/"), ("PROPFIND", "/gated/file"), ("PUT", "/gated/new"), ("MKCOL", "/gated/folder/")]
    {
        server.refused(&server.request(method, target).header("Depth", "1"), 401, "token-missing");
    }
    for (method, from, to) in [
        ("COPY", "/gated/other", "/open/stolen"),
        ("MOVE", "/gated/other", "/open/stolen"),
        ("COPY", "/open/file", "/gated/file"),
        ("MOVE", "/open/file", "/gated/file"),
        ("MOVE", "/open/file", "/gated/../gated/new"),
    ] {
        let answer = send(method, from, to).send();
        assert!(!matches!(answer.status, 200..=299), "{method} {from} {to}: {answer:?}");
    }
    let content = |path: &str| std::fs::read_to_string(server.root.join("html").join(path)).ok();
    assert_eq!(content("gated/file").as_deref(), Some("gated"));
    assert_eq!(
        (content("open/file").as_deref(), content("open/stolen"), content("gated/new")),
        (Some("open"), None, None)
    );
    let copied = send("COPY", "/open/file", "/gated/new").bearer(server.token().sign()).send();
    assert_eq!((copied.status, content("gated/new").as_deref()), (201, Some("open")), "{copied:?}");
    let listed = server.request("PROPFIND", "/gated/").header("Depth", "1").bearer(server.token().sign()).send();
    assert!(listed.status == 207 && listed.text().contains("/gated/other"), "{listed:?}");
}

/// mod_negotiation looks for files that could stand for the path.
#[test]
fn a_variant_of_a_file_is_under_its_own_policy() {
    let site = Site::new().load(&["negotiation"]);
    site.write("html/report.html", "the secret");
    let mut server = site.start(&format!(
        r#"{MAIN}
        <Directory "${{ROOT}}/html">
            Options +MultiViews
            AddType text/html .html
        </Directory>
        <Location "/report.html">
            JwtGate on
        </Location>"#
    ));
    let answer = server.get("/report").send();
    assert!(answer.status >= 400 && !answer.text().contains("the secret"), "{answer:?}");
    assert_eq!(server.get("/report").bearer(server.token().sign()).send().text(), "the secret");
    server.expect_log("AH00687");
}

#[test]
fn streams_of_one_connection_are_each_the_request_of_who_sent_it() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            JwtGateForward X-User subject
            JwtGateLimit mine key=subject rate=1/d burst=3
        </Location>"#
    ));
    let [alice, bob, forged] =
        [server.token().sign(), server.token().claim("sub", "bob").sign(), server.token().forge()]
            .map(|token| format!("Bearer {token}"));
    let senders = [Some(&alice), Some(&bob), Some(&forged), None];
    let streams: Vec<_> = (0..40)
        .map(|n| {
            let authorization = senders[n % 4].map(|value| ("authorization", value.as_str()));
            (format!("/{n}"), authorization.into_iter().collect())
        })
        .collect();
    let answers = server.http2().get_all(&streams);
    for (sender, name) in [(0, "alice"), (1, "bob")] {
        let of_sender: Vec<_> = answers.iter().skip(sender).step_by(4).collect();
        let (admitted, refused): (Vec<_>, Vec<_>) = of_sender.into_iter().partition(|answer| answer.status == 200);
        assert!(admitted.iter().all(|answer| answer.seen().header("X-User") == Some(name)), "{admitted:?}");
        assert!(refused.iter().all(|answer| answer.status == 429), "{refused:?}");
        assert_eq!((admitted.len(), refused.len()), (3, 7), "{name}");
    }
    for sender in [2, 3] {
        assert!(answers.iter().skip(sender).step_by(4).all(|answer| answer.status == 401));
    }
    assert_eq!(server.app.count(), 6);
}

/// The PROXY protocol belongs to the connection, of which HTTP/2 makes others inside.
#[test]
fn the_address_of_the_proxy_protocol_counts_under_both_versions_of_http() {
    let server = Site::new().load(&["remoteip"]).start(&format!(
        r#"{MAIN}
        <VirtualHost 127.0.0.1:${{PORT2}}>
            ServerName gate.test
            RemoteIPProxyProtocol On
            ProxyPass / ${{APP}}/
            <Location "/">
                JwtGate on
                JwtGateToken none
                JwtGateAllow 203.0.113.0/24 2001:db8::/32
                JwtGateLimit each key=address rate=1/d burst=2
            </Location>
        </VirtualHost>"#
    ));
    let ask = |line: &str, streams: usize| -> [Vec<u16>; 2] {
        let mut connection = crate::harness::Connection::open(server.second_address(), None);
        connection.send(line);
        let request = server.get("/").header("X-Forwarded-For", "203.0.113.200").bytes();
        let first = (0..streams).map(|_| {
            connection.send(&request);
            connection.answer().status
        });
        let first = first.collect();
        let mut connection = Http2::open_behind(server.second_address(), line);
        let second = (0..streams).map(|_| connection.get("/", &[("x-forwarded-for", "203.0.113.200")]).status);
        [first, second.collect()]
    };
    let from = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 40000 80\r\n");
    assert_eq!(ask(&from("203.0.113.1"), 1), [[200], [200]]);
    // Both connections are of one client, who has had his two.
    assert_eq!(ask(&from("203.0.113.1"), 2), [[429, 429], [429, 429]]);
    assert_eq!(ask(&from("203.0.113.2"), 1), [[200], [200]]);
    assert_eq!(ask(&from("198.51.100.1"), 1), [[403], [403]]);
    assert_eq!(ask("PROXY TCP6 2001:db8::1 ::1 40000 80\r\n", 1), [[200], [200]]);
    assert_eq!(ask("PROXY TCP6 ::ffff:203.0.113.3 ::1 40000 80\r\n", 1), [[200], [200]]);
    assert_eq!(ask("PROXY TCP6 2001:db9::1 ::1 40000 80\r\n", 1), [[403], [403]]);
}

/// mod_headers runs before the decision (`early`) and behind it, but never behind what the gate tells.
#[test]
fn what_mod_headers_does_to_requests_comes_before_what_the_gate_tells() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        RequestHeader set X-User early early
        RequestHeader append X-User more early
        RequestHeader set Authorization "expr=%{{req:X-Late-Token}}" "expr=-n req('X-Late-Token')"
        <Location "/">
            JwtGate on
            JwtGateToken optional
            JwtGateForward X-User subject
        </Location>
        <Location "/set">
            RequestHeader set X-User late
            RequestHeader set X_User late
            RequestHeader append X-User late
            RequestHeader add X-User late
        </Location>
        <Location "/edit">
            RequestHeader edit X-User "^.*$" "late"
        </Location>
        <Location "/connection">
            RequestHeader set Connection "X-User"
        </Location>
        <Location "/unset">
            RequestHeader unset Authorization
            RequestHeader unset X-User
        </Location>
        <Location "/off">
            JwtGate off
        </Location>
        <Location "/off/set">
            RequestHeader set X-User administrator
        </Location>"#
    ));
    let token = server.token().sign();
    for target in ["/", "/set", "/edit", "/connection", "/unset"] {
        let seen = server.get(target).bearer(&token).header("X-User", "eve").send().seen();
        let users: Vec<_> = seen.headers.iter().filter(|field| field.0.replace('_', "-") == "X-User").collect();
        assert_eq!(users, [&("X-User".to_owned(), "alice".to_owned())], "{target}");
        assert_eq!(seen.header("Authorization").is_none(), target == "/unset", "{target}");
    }
    // Nobody is known by a token that comes behind the decision; and what is set early is like the client's own.
    let late = server.get("/").header("X-Late-Token", format!("Bearer {token}")).send().seen();
    assert_eq!((late.header("X-User"), late.header("Authorization").is_some()), (None, true));
    for target in ["/", "/off", "/set"] {
        let seen = server.get(target).header("X-User", "eve").send().seen();
        assert_eq!(seen.all("X-User"), [""; 0], "{target}");
    }
    // Where the gate says nothing, the administrator may.
    assert_eq!(server.get("/off/set").header("X-User", "eve").send().seen().header("X-User"), Some("administrator"));
}

/// httpd joins fields of one name by a comma before any module sees them.
#[test]
fn two_authorizations_are_never_one() {
    let server = Site::new().start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
        </Location>"#
    ));
    let token = server.token().sign();
    let bearer = format!("Bearer {token}");
    let pairs = [
        [bearer.as_str(), bearer.as_str()],
        [bearer.as_str(), "Basic YTpi"],
        [bearer.as_str(), "Bearer x"],
        ["Bearer x", bearer.as_str()],
        ["Basic YTpi", bearer.as_str()],
    ];
    let statuses = |[first, second]: [&str; 2]| {
        let both = server.get("/").header("Authorization", first).header("authorization", second).status();
        let joined = server.get("/").header("Authorization", format!("{first}, {second}")).status();
        let streams = server.http2().get("/", &[("authorization", first), ("authorization", second)]).status;
        [both, joined, streams]
    };
    for pair in pairs {
        let statuses = statuses(pair);
        assert!(statuses.iter().all(|status| matches!(status, 400 | 401)), "{statuses:?} {pair:?}");
    }
    assert_eq!(server.app.count(), 0);
    for value in [
        format!("{bearer},"),
        format!(",{bearer}"),
        format!("{bearer} x"),
        format!("{bearer};x"),
        format!("Bearer,{token}"),
    ] {
        let status = server.get("/").header("Authorization", &value).status();
        assert!(matches!(status, 400 | 401), "{value}: {status}");
    }
    assert_eq!(server.app.count(), 0);
    assert_eq!(server.get("/").header("aUTHORIZATION", &bearer).status(), 200);
}

/// Where mod_remoteip cannot read on, the client's address is that of the last one it could read: nobody the header
/// names beyond that, and never an allowed one by what it cannot read.
#[test]
fn garbage_in_x_forwarded_for_is_nobody_else() {
    let server = Site::new().load(&["remoteip"]).start(
        r#"ProxyPass / ${APP}/
        RemoteIPHeader X-Forwarded-For
        RemoteIPInternalProxy 127.0.0.1
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateAllow 203.0.113.0/24 2001:db8::/32
        </Location>"#,
    );
    let via = |value: &str| server.get("/").header("X-Forwarded-For", value);
    // What is not an address is looked up as a name: one with two dots in a row is none.
    for value in [
        "203.0.113.9",
        "gar..bage, 203.0.113.9",
        "::ffff:203.0.113.9",
        "::FFFF:CB00:7109",
        "2001:DB8::9",
        "203.0.113.9\t",
    ] {
        assert_eq!(via(value).status(), 200, "{value}");
    }
    for value in [
        "",
        ",",
        "203.0.113.9, gar..bage",
        "203.0.113.9, 203.0.113.9..",
        "203.0.113.9, 203.0.113..9/24",
        "203.0.113.9 203.0.113..9",
        "203.0.113.9, fe80::1%lo",
        "203.0.113.9, ::ffff:198.51.100.1",
        "203.0.113.9, 127.0.0.1, 127.0.0.1..",
        "for=203.0.113..9",
    ] {
        server.refused(&via(value), 403, "address-denied");
    }
    let twice: Request = via("203.0.113.9").header("X-Forwarded-For", "198.51.100.1");
    server.refused(&twice, 403, "address-denied");
    assert_eq!(server.app.count(), 6);
}

/// With an `AuthType` and no `Require`, httpd finds nobody who would let the request in.
#[test]
fn an_auth_type_without_require_lets_nobody_in() {
    let mut server: Server = Site::new().load(&["auth_basic", "authn_file", "authz_user"]).start(&format!(
        r#"{MAIN}ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
            AuthType Basic
            AuthName x
        </Location>"#
    ));
    server.expect_log("AH01627");
    server.refused(&server.get("/"), 401, "token-missing");
    assert_eq!(server.get("/").bearer(server.token().sign()).status(), 500);
    assert_eq!(server.app.count(), 0);
}
