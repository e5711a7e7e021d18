//! The start-up audit, on configurations written as an administrator writes them. Every finding has
//! neighbours: configurations that differ by little and are right.

use jwt_gate_core::config::audit::{Finding, Node, Severity, audit};

/// Splits a configuration as httpd does. Line numbers count from 1, after the leading line break.
fn tree(text: &str) -> Vec<Node> {
    let mut open = vec![Node::default()];
    for (line, number) in text.lines().map(str::trim).zip(0..) {
        if line.is_empty() {
            continue;
        }
        if line.starts_with("</") {
            let closed = open.pop().expect("an open section");
            open.last_mut().expect("the whole configuration").children.push(closed);
            continue;
        }
        let (name, args) = line.split_once(' ').unwrap_or((line, ""));
        let node = Node {
            name: name.trim_end_matches('>').to_owned(),
            args: args.to_owned(),
            file: "site.conf".to_owned(),
            line: number,
            children: Vec::new(),
        };
        if name.starts_with('<') {
            open.push(node);
        } else {
            open.last_mut().expect("the whole configuration").children.push(node);
        }
    }
    assert_eq!(open.len(), 1, "all sections are closed: {text}");
    open.remove(0).children
}

fn findings(text: &str) -> Vec<Finding> {
    audit(&tree(text))
}

/// Asserts which findings there are, as id and line.
#[track_caller]
fn expect(text: &str, expected: &[(&str, u32)]) {
    let found = findings(text);
    let found: Vec<_> = found.iter().map(|f| (f.id, f.line)).collect();
    assert_eq!(found, expected, "{text}");
}

const SATISFY: &str = "JG2101";
const DIRECTORY: &str = "JG2102";
const PART: &str = "JG2103";
const CACHE: &str = "JG2104";
const REMOTE_IP: &str = "JG2105";
const PATTERN: &str = "JG2108";

#[test]
fn an_empty_configuration_is_right() {
    assert_eq!(audit(&[]), []);
}

#[test]
fn without_a_gate_there_is_nothing_to_get_around() {
    expect(
        "
        RemoteIPHeader X-Forwarded-For
        CacheEnable disk /
        MergeSlashes Off
        ProxyPass / http://127.0.0.1:8000/ nocanon
        <Location /x>
            JwtGate off
            Satisfy Any
        </Location>
        <Directory /srv>
            JwtGate OFF
        </Directory>",
        &[],
    );
}

#[test]
fn satisfy_any_beside_a_gate() {
    for mode in ["on", "dry-run", "On", "\"on\""] {
        expect(&format!("\n<Location \"/x\">\nJwtGate {mode}\nsatisfy any\n</Location>"), &[(SATISFY, 3)]);
    }
    expect("\n<Location /x>\nJwtGate off\nSatisfy Any\n</Location>", &[]);
    expect("\n<Location /x>\nJwtGate on\nSatisfy All\n</Location>", &[]);
    expect("\n<Location /x>\nJwtGate on\nSatisfy Any\nSatisfy All\n</Location>", &[]);
    expect("\n<Location /x>\nJwtGate on\nJwtGate off\nSatisfy Any\n</Location>", &[]);
    expect("\n<LocationMatch ^/x>\nJwtGate on\nSatisfy Any\n</LocationMatch>", &[(SATISFY, 3)]);
}

#[test]
fn only_the_satisfy_any_that_is_in_force_is_named() {
    expect(
        "
        <Location /public>
            JwtGate off
            Satisfy Any
        </Location>
        <Location /x>
            JwtGate on
            Satisfy Any
        </Location>
        <Location /x/y>
            Satisfy All
        </Location>",
        &[(SATISFY, 7)],
    );
}

#[test]
fn satisfy_any_in_sections_that_meet() {
    for (gate, satisfy, expected) in [
        ("/", "/x", true),
        ("/x", "/", true),
        ("/x", "/x/y", true),
        ("/x/y", "/x", true),
        ("/x", "/x", true),
        ("/x/", "/x/y", true),
        ("/x", "/xy", false),
        ("/xy", "/x", false),
        ("/x", "/y", false),
        ("/x/y", "/x/z", false),
        ("/x/", "/x", true),
        ("/x*", "/xy", false),
        ("~ ^/x", "/x", false),
        ("~ ^/x", "/", true),
        ("/", "~ ^/x", true),
    ] {
        let text =
            format!("\n<Location {gate}>\nJwtGate on\n</Location>\n<Location {satisfy}>\nSatisfy Any\n</Location>");
        expect(&text, if expected { &[(SATISFY, 5)] } else { &[] });
    }
}

#[test]
fn an_exception_from_the_gate_may_satisfy_any() {
    expect(
        "
        <Location />
            JwtGate on
        </Location>
        <Location /public>
            JwtGate off
            Satisfy Any
        </Location>",
        &[],
    );
    // httpd merges <Location> in the order of the file, not by length
    expect(
        "
        <Location /public>
            JwtGate off
            Satisfy Any
        </Location>
        <Location />
            JwtGate on
        </Location>",
        &[(SATISFY, 3)],
    );
    expect(
        "
        <Location /public>
            JwtGate off
            Satisfy Any
        </Location>
        <Location /public/account>
            JwtGate on
        </Location>",
        &[(SATISFY, 3)],
    );
    expect(
        "
        <Location /public>
            JwtGate off
            Satisfy Any
        </Location>
        <Location /public/account>
            JwtGate on
            Satisfy All
        </Location>",
        &[],
    );
}

#[test]
fn satisfy_any_and_nested_sections() {
    expect(
        "
        <Location /x>
            JwtGate on
            <If \"true\">
                <If \"true\">
                    Satisfy Any
                </If>
            </If>
        </Location>",
        &[(SATISFY, 5)],
    );
    expect(
        "
        <Location /x>
            Satisfy Any
            <If \"true\">
                JwtGate on
            </If>
        </Location>",
        &[(SATISFY, 2)],
    );
    expect(
        "
        <Location /x>
            <If \"true\">
                JwtGate off
                Satisfy Any
            </If>
            JwtGate on
        </Location>",
        &[],
    );
    expect(
        "
        <Location /x>
            JwtGate on
            <Limit GET>
                Satisfy Any
            </Limit>
        </Location>",
        &[(SATISFY, 4)],
    );
    expect(
        "
        <Location /x>
            <If \"true\">
                JwtGate on
            </If>
            <Else>
                Satisfy Any
            </Else>
        </Location>",
        &[],
    );
}

#[test]
fn satisfy_any_and_directories() {
    for (gate, satisfy, expected) in
        [("/srv", "/srv/www", true), ("/srv/www", "/srv/", true), ("/srv/w", "/srv/www", false), ("/a", "/b", false)]
    {
        let text =
            format!("\n<Directory {gate}>\nJwtGate on\n</Directory>\n<Directory {satisfy}>\nSatisfy Any\n</Directory>");
        expect(&text, if expected { &[(SATISFY, 5)] } else { &[] });
    }
    // the longer directory is merged last, wherever it stands
    expect(
        "
        <Directory /srv/www>
            JwtGate off
            Satisfy Any
        </Directory>
        <Directory /srv>
            JwtGate on
        </Directory>",
        &[],
    );
    expect(
        "
        <Directory /srv>
            Satisfy Any
            <Files a>
                JwtGate on
            </Files>
        </Directory>",
        &[(SATISFY, 2)],
    );
    expect(
        "
        <Directory /srv>
            Satisfy Any
        </Directory>
        <Location /x>
            JwtGate on
        </Location>",
        &[],
    );
}

#[test]
fn a_gate_for_the_server_meets_everything_in_it() {
    expect("\nJwtGate on\n<Directory /srv>\nSatisfy Any\n</Directory>", &[(SATISFY, 3)]);
    expect("\nJwtGate off\n<Directory /srv>\nSatisfy Any\n</Directory>", &[]);
    expect("\nJwtGate on\n<Directory /srv>\nSatisfy Any\nJwtGate off\n</Directory>", &[]);
    expect(
        "
        <VirtualHost *:80>
            JwtGate on
        </VirtualHost>
        <VirtualHost *:81>
            <Location /x>
                Satisfy Any
            </Location>
        </VirtualHost>",
        &[],
    );
}

#[test]
fn virtual_hosts_inherit_from_the_main_server() {
    expect(
        "
        JwtGate on
        <VirtualHost *:80>
            <Location /x>
                Satisfy Any
            </Location>
        </VirtualHost>
        <VirtualHost *:81>
            JwtGate off
            <Location /x>
                Satisfy Any
            </Location>
        </VirtualHost>",
        &[(SATISFY, 4)],
    );
    expect(
        "
        <Location /x>
            Satisfy Any
        </Location>
        <VirtualHost *:80>
            <Location /x>
                JwtGate on
            </Location>
        </VirtualHost>
        <VirtualHost *:81>
            <Location /x>
                JwtGate on
            </Location>
        </VirtualHost>",
        &[(SATISFY, 2)],
    );
}

#[test]
fn unknown_sections_are_walked_through() {
    expect(
        "
        <IfModule mod_x.c>
            <VirtualHost *:80>
                <Unknown a>
                    <LOCATION '/x'>
                        jwtgate ON
                        SATISFY ANY
                    </LOCATION>
                </Unknown>
            </VirtualHost>
        </IfModule>",
        &[(SATISFY, 6)],
    );
}

#[test]
fn section_arguments_come_in_any_quotes() {
    for path in ["/x", "/x>", "\"/x\"", "\"/x\">", "'/x'>", " \"/x\" > "] {
        let section = |name: &str, args: &str, children| Node {
            name: name.to_owned(),
            args: args.to_owned(),
            children,
            ..Node::default()
        };
        let tree = [
            section("<Location", path, vec![section("JwtGate", "on", vec![])]),
            section("<Location", "/x/y", vec![section("Satisfy", "Any", vec![])]),
        ];
        assert_eq!(audit(&tree).len(), 1, "{path:?}");
    }
}

#[test]
fn a_gate_in_a_directory_of_a_proxy() {
    for (forwarding, expected) in [
        ("ProxyPass / http://127.0.0.1:8000/", true),
        ("proxypass \"/app\" \"http://127.0.0.1:8000/\"", true),
        ("ProxyPass ~ ^/a http://127.0.0.1:8000/", true),
        ("ProxyPassMatch ^/a http://127.0.0.1:8000/", true),
        ("RewriteRule ^/a(.*) http://127.0.0.1:8000$1 [L,P]", true),
        ("RewriteRule ^/a(.*) http://127.0.0.1:8000$1 [proxy]", true),
        ("RewriteRule \"^/a b\" \"http://127.0.0.1:8000\" \"[QSA, p]\"", true),
        ("ProxyPass /static !", false),
        ("RewriteRule ^/a(.*) /b$1 [PT]", false),
        ("RewriteRule ^/a(.*) /b$1", false),
        ("ProxyPreserveHost On", false),
    ] {
        for section in ["Directory /srv", "DirectoryMatch ^/srv", "Directory ~ ^/srv", "Directory /s*"] {
            let name = section.split(' ').next().unwrap();
            let text = format!("\n{forwarding}\n<{section}>\nJwtGate on\n</{name}>");
            expect(&text, if expected { &[(DIRECTORY, 3)] } else { &[] });
        }
        expect(&format!("\n{forwarding}\n<Directory /srv>\nJwtGate off\n</Directory>"), &[]);
    }
}

#[test]
fn a_gate_in_a_directory_is_right_where_the_proxy_is_gated_too() {
    let directory = "<Directory /srv>\nJwtGate on\n</Directory>";
    let gated = |section: &str, path: &str| format!("<{section} {path}>\nJwtGate on\n</{section}>");
    let pass = "ProxyPass /app http://127.0.0.1:8000/";
    for (text, expected) in [
        (gated("Location", "/app"), false),
        (gated("Location", "/"), false),
        (gated("Proxy", "*"), false),
        ("JwtGate on".to_owned(), false),
        ("<Location /app>\nJwtGate off\n</Location>".to_owned(), false),
        (gated("Location", "/other"), true),
    ] {
        expect(&format!("\n{directory}\n{pass}\n{text}"), if expected { &[(DIRECTORY, 2)] } else { &[] });
    }
    let inner = gated("Location", "/app/inner");
    expect(&format!("\n{directory}\n{pass}\n{inner}"), &[(DIRECTORY, 2), (PART, 6)]);
    expect(
        "
        <Directory /srv>
            JwtGate on
        </Directory>
        <Location /app>
            JwtGate on
            ProxyPass http://127.0.0.1:8000/
        </Location>
        <Location /static>
            JwtGate off
            ProxyPass !
        </Location>",
        &[],
    );
}

#[test]
fn rewriting_in_a_section_follows_the_directory() {
    expect(
        "
        <Directory /srv>
            JwtGate on
            RewriteRule a http://127.0.0.1:8000 [P]
        </Directory>
        <Directory /var>
            RewriteRule a http://127.0.0.1:8000 [P]
        </Directory>",
        &[],
    );
}

#[test]
fn a_proxy_is_inherited_and_rewriting_only_on_demand() {
    let host = "<VirtualHost *:80>\n<Directory /srv>\nJwtGate on\n</Directory>";
    expect(&format!("\nProxyPass / http://127.0.0.1:8000/\n{host}\n</VirtualHost>"), &[(DIRECTORY, 4)]);
    let rule = "RewriteRule ^ http://127.0.0.1:8000 [P]";
    expect(&format!("\n{rule}\n{host}\n</VirtualHost>"), &[]);
    expect(&format!("\n{rule}\n{host}\nRewriteOptions Inherit\n</VirtualHost>"), &[(DIRECTORY, 4)]);
    expect(&format!("\n{rule}\n{host}\nRewriteOptions IgnoreInherit\n</VirtualHost>"), &[]);
    expect(&format!("\n<VirtualHost *:81>\n{rule}\n</VirtualHost>\n{host}\n</VirtualHost>"), &[]);
}

#[test]
fn a_gate_on_a_part_of_what_is_forwarded() {
    for (forwarding, expected) in [
        ("ProxyPass / http://127.0.0.1:8000/", true),
        ("ProxyPass / http://127.0.0.1:8000/ nocanon", true),
        ("ProxyPass / http://127.0.0.1:8000/ mapping=servlet", true),
        ("ProxyPass / balancer://pool/", true),
        ("ProxyPassMatch ^/(.*) http://127.0.0.1:8000/$1", true),
        ("ProxyPassMatch ^/(x|y)$ http://127.0.0.1:8000/$1", true),
        ("RewriteRule ^/(.*) http://127.0.0.1:8000/$1 [P]", true),
        ("<Location />\nProxyPass http://127.0.0.1:8000/\n</Location>", true),
        ("<LocationMatch ^/>\nProxyPassMatch http://127.0.0.1:8000/\n</LocationMatch>", true),
        ("<Location />\nSetHandler proxy:http://127.0.0.1:8000/\n</Location>", true),
        ("<Location />\nRewriteRule ^ http://127.0.0.1:8000/ [P]\n</Location>", true),
        ("<Directory /srv>\nRewriteRule ^ http://127.0.0.1:8000/ [P]\n</Directory>", true),
        ("ProxyPass / !", false),
        ("RewriteRule ^/(.*) /x/$1 [PT]", false),
        ("SetHandler server-status", false),
        ("MergeSlashes Off", false),
    ] {
        for section in ["Location", "LocationMatch"] {
            let with = |gates: &str| format!("\n<{section} /x>\nJwtGate on\n</{section}>\n{forwarding}\n{gates}");
            expect(&with(""), if expected { &[(PART, 2)] } else { &[] });
            expect(&with("<Location />\nJwtGate off\n</Location>"), if expected { &[(PART, 2)] } else { &[] });
            expect(&with("<Location />\nJwtGate dry-run\n</Location>"), &[]);
            expect(&with("<Proxy *>\nJwtGate on\n</Proxy>"), &[]);
        }
    }
}

#[test]
fn a_gate_on_all_that_is_forwarded() {
    let gate = "<Location /x>\nJwtGate on\n</Location>";
    for forwarding in [
        "ProxyPass /x http://127.0.0.1:8000/",
        "ProxyPass /x/ http://127.0.0.1:8000/ nocanon",
        "ProxyPass /x/y http://127.0.0.1:8000/",
        "ProxyPassMatch ^/x/(.*) http://127.0.0.1:8000/$1",
        "RewriteRule ^/x/(.*) http://127.0.0.1:8000/$1 [P]",
        "<Location /x>\nProxyPass http://127.0.0.1:8000/\n</Location>",
        "<Location /x/y>\nSetHandler proxy:http://127.0.0.1:8000/\n</Location>",
    ] {
        expect(&format!("\n{gate}\n{forwarding}"), &[]);
    }
    // These may forward what is spelt otherwise.
    for forwarding in [
        "ProxyPassMatch ^/x http://127.0.0.1:8000/$1",
        "ProxyPassMatch (?i)^/x/(.*) http://127.0.0.1:8000/$1",
        "RewriteRule ^/x/(.*) http://127.0.0.1:8000/$1 [P,NC]",
        "RewriteRule /x/(.*) http://127.0.0.1:8000/$1 [nocase,proxy]",
    ] {
        expect(&format!("\n{gate}\n{forwarding}"), &[(PART, 2)]);
    }
    expect("\n<LocationMatch ^/x>\nJwtGate on\nProxyPass http://127.0.0.1:8000/\n</LocationMatch>", &[]);
    expect("\nJwtGate on\nProxyPass / http://127.0.0.1:8000/\n<Location /x>\nJwtGate on\n</Location>", &[]);
}

#[test]
fn a_gate_on_one_application_of_several() {
    let gate = "<Location /x>\nJwtGate on\n</Location>";
    for (forwarding, expected) in [
        ("ProxyPass /x http://127.0.0.1:1/\nProxyPass /y http://127.0.0.1:1/", false),
        ("ProxyPass /x http://127.0.0.1:1/\nProxyPass / http://127.0.0.1:2/", false),
        ("ProxyPass / http://127.0.0.1:2/\n<Location /x>\nProxyPass http://127.0.0.1:1/\n</Location>", false),
        ("ProxyPass /x http://127.0.0.1:1/x\nProxyPass / http://127.0.0.1:1/", true),
        ("ProxyPass /x http://App:1/x\nProxyPass / http://app:1", true),
        ("ProxyPass /xy http://127.0.0.1:1/\nProxyPass / http://127.0.0.1:2/", true),
    ] {
        expect(&format!("\n{gate}\n{forwarding}"), if expected { &[(PART, 2)] } else { &[] });
    }
}

#[test]
fn a_token_for_a_part_of_what_is_forwarded() {
    let site = |outside: &str, inside: &str| {
        format!(
            "\nProxyPass / http://127.0.0.1:1/\n<Location />\nJwtGate on\n{outside}\n</Location>\n\
             <Location /x>\n{inside}\n</Location>"
        )
    };
    expect(&site("JwtGateToken none", "JwtGateToken required"), &[(PART, 7)]);
    expect(&site("JwtGateToken optional", "JwtGate on\nJwtGateToken required"), &[(PART, 8)]);
    expect(&site("JwtGateToken required", "JwtGateToken required"), &[]);
    expect(&site("", "JwtGateToken none"), &[]);
    expect(&site("<If \"true\">\nJwtGate off\n</If>", "JwtGateToken none"), &[]);
}

#[test]
fn each_server_is_judged_by_what_is_in_force_there() {
    expect(
        "
        ProxyPass / http://127.0.0.1:8000/
        <VirtualHost *:80>
            <Location /x>
                JwtGate on
            </Location>
        </VirtualHost>
        <VirtualHost *:81>
            ProxyPass / !
            JwtGate on
            <Location /x>
                JwtGate on
            </Location>
        </VirtualHost>",
        &[(PART, 4)],
    );
}

#[test]
fn exceptions_by_pattern() {
    let site = |exception: &str| {
        format!("\nProxyPass / http://127.0.0.1:1/\n<Location />\nJwtGate on\n</Location>\n{exception}")
    };
    for (exception, expected) in [
        ("<LocationMatch \"\\.css$\">\nJwtGate off\n</LocationMatch>", true),
        ("<LocationMatch \"\\.css$\">\nJwtGateToken none\n</LocationMatch>", true),
        ("<LocationMatch \"\\.css$\">\nJwtGateToken optional\n</LocationMatch>", true),
        ("<Location ~ \"/public/\">\nJwtGate off\n</Location>", true),
        ("<Location \"/*/public\">\nJwtGate off\n</Location>", true),
        ("<LocationMatch \"\\.css$\">\nJwtGateToken required\n</LocationMatch>", false),
        ("<LocationMatch \"\\.css$\">\nJwtGate on\n</LocationMatch>", false),
        ("<LocationMatch \"^/health$\">\nJwtGate off\n</LocationMatch>", false),
        ("<LocationMatch \"^/(docs|static)/\">\nJwtGate off\n</LocationMatch>", false),
        ("<Location ~ \"^/health$\">\nJwtGate off\n</Location>", false),
        ("<Location \"/static*\">\nJwtGate off\n</Location>", false),
        ("<Location \"/public\">\nJwtGate off\n</Location>", false),
    ] {
        expect(&site(exception), if expected { &[(PATTERN, 6)] } else { &[] });
        expect(&site(exception).replace("ProxyPass", "#"), &[]);
    }
    // A pattern that is gated by itself is no exception.
    expect(
        "\nProxyPass /y http://127.0.0.1:1/\n<LocationMatch x>\nJwtGate on\nJwtGateToken none\n</LocationMatch>",
        &[(PART, 3)],
    );
}

#[test]
fn a_cache_before_the_gate() {
    let gate = |section: &str| format!("<{section}>\nJwtGate on\n</{}>", section.split(' ').next().unwrap());
    for (cache, gate, expected) in [
        ("CacheEnable disk /", gate("Location /x"), true),
        ("CacheEnable disk /x", gate("Location /x"), true),
        ("CacheEnable disk /x/y", gate("Location /x"), true),
        ("CacheEnable disk /x", gate("Location /xy"), true),
        ("CacheEnable disk \"http://\"", gate("Location /x"), true),
        ("CacheEnable disk http://a.example/x", gate("Location /x"), true),
        ("CacheEnable disk /xy", gate("Location /x"), false),
        ("CacheEnable disk /y", gate("Location /x"), false),
        ("CacheEnable disk http://a.example/y", gate("Location /x"), false),
        ("CacheEnable disk /y", gate("LocationMatch ^/x"), true),
        ("CacheEnable disk /y", gate("Location /x*"), true),
        ("CacheEnable disk /", gate("Directory /srv"), true),
        ("CacheEnable disk /y", gate("Directory /srv"), false),
        ("CacheEnable disk /y", "JwtGate on".to_owned(), true),
        ("CacheEnable disk /y", gate("Location /"), true),
        ("CacheSocache on", gate("Location /x"), false),
    ] {
        let expected: &[_] = if expected { &[(CACHE, 1)] } else { &[] };
        expect(&format!("\n{cache}\n{gate}"), expected);
        expect(&format!("\n{cache}\n{gate}\nCacheQuickHandler on"), expected);
        expect(&format!("\n{cache}\n{gate}\ncachequickhandler OFF"), &[]);
        expect(&format!("\n{cache}\n{gate}\nCacheDisable /"), &[]);
    }
}

#[test]
fn what_is_not_gated_may_be_cached() {
    let site = "<Location />\nJwtGate on\n</Location>\n<Location /static>\nJwtGate off\n</Location>";
    expect(&format!("\nCacheEnable disk /static\n{site}"), &[]);
    expect(&format!("\nCacheEnable disk /static/css\n{site}"), &[]);
    expect(&format!("\nCacheEnable disk /\n{site}"), &[(CACHE, 1)]);
    let account = "<Location /static/account>\nJwtGate on\n</Location>";
    expect(&format!("\nCacheEnable disk /static\n{site}\n{account}"), &[(CACHE, 1)]);
    expect(&format!("\nCacheEnable disk /static\n{site}\n{account}\nCacheDisable /static/account"), &[]);
    expect(&format!("\nCacheEnable disk /static\n{site}\n{account}\nCacheDisable /static/account/x"), &[(CACHE, 1)]);
    let pattern = "<LocationMatch secret>\nJwtGate on\n</LocationMatch>";
    expect(&format!("\nCacheEnable disk /y\n<Location /y>\nJwtGate off\n</Location>\n{pattern}"), &[]);
}

#[test]
fn a_cache_in_a_section_is_not_the_quick_handlers() {
    expect("\n<Location /x>\nJwtGate on\nCacheEnable disk\n</Location>", &[]);
}

#[test]
fn caches_are_inherited() {
    let host = "<VirtualHost *:80>\n<Location /x>\nJwtGate on\n</Location>";
    expect(&format!("\nCacheEnable disk /\n{host}\n</VirtualHost>"), &[(CACHE, 1)]);
    expect(&format!("\nCacheEnable disk /\n{host}\nCacheQuickHandler off\n</VirtualHost>"), &[]);
    expect(
        &format!("\nCacheEnable disk /\nCacheQuickHandler off\n{host}\nCacheQuickHandler on\n</VirtualHost>"),
        &[(CACHE, 1)],
    );
}

#[test]
fn a_client_address_that_anyone_may_choose() {
    let gate = "<Location /x>\nJwtGate dry-run\n</Location>";
    expect(&format!("\nRemoteIPHeader X-Forwarded-For\n{gate}"), &[(REMOTE_IP, 1)]);
    for trusted in ["TrustedProxy 10.0.0.1", "InternalProxy 10.0.0.0/8", "trustedproxylist a", "InternalProxyList a"] {
        expect(&format!("\nRemoteIPHeader X-Forwarded-For\n{gate}\nRemoteIP{trusted}"), &[]);
    }
    expect(&format!("\nRemoteIPHeader X-Forwarded-For\n{gate}\nRemoteIPProxiesHeader X-By"), &[(REMOTE_IP, 1)]);
    expect(
        &format!("\nRemoteIPTrustedProxy 10.0.0.1\n<VirtualHost *:80>\nRemoteIPHeader X\n{gate}\n</VirtualHost>"),
        &[],
    );
    expect(
        &format!(
            "\n<VirtualHost *:80>\nRemoteIPTrustedProxy 10.0.0.1\n</VirtualHost>\n<VirtualHost *:81>\nRemoteIPHeader X\n{gate}\n</VirtualHost>"
        ),
        &[(REMOTE_IP, 5)],
    );
}

#[test]
fn findings_say_where_why_and_what_to_do() {
    let found = findings(
        "
        RemoteIPHeader X-Forwarded-For
        ProxyPass / http://127.0.0.1:8000/ nocanon
        CacheEnable disk /
        <Location /x>
            JwtGate on
            Satisfy Any
        </Location>
        <Directory /srv>
            JwtGate on
        </Directory>",
    );
    let expected = [
        (Severity::Error, SATISFY, 6, "(site.conf:5)", "write JwtGate off"),
        (Severity::Warning, DIRECTORY, 9, "ProxyPass (site.conf:2)", "into <Location>"),
        (Severity::Warning, PART, 5, "ProxyPass (site.conf:2)", "<Location \"/\">"),
        (Severity::Error, CACHE, 3, "(site.conf:5)", "CacheQuickHandler off"),
        (Severity::Warning, REMOTE_IP, 1, "RemoteIPTrustedProxy", "name a trusted proxy"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (finding, (severity, id, line, cause, remedy)) in found.iter().zip(expected) {
        assert_eq!(
            (finding.severity, finding.id, finding.line, finding.file.as_str()),
            (severity, id, line, "site.conf")
        );
        assert!(finding.text.contains(cause) && finding.text.contains(remedy), "{}", finding.text);
    }
}

#[test]
fn malformed_arguments_harm_nothing() {
    for args in ["", " ", "\"", "'", "\\", "\"\\", "\"\\\"", ">", "\">", "[", "~", "~ >", "!", "\u{e9}\"\u{e9}"] {
        for name in [
            "ProxyPass",
            "RewriteRule",
            "CacheEnable",
            "CacheDisable",
            "Satisfy",
            "JwtGate",
            "<Location",
            "<Directory",
            "<",
        ] {
            let node =
                |name: &str, args: &str| Node { name: name.to_owned(), args: args.to_owned(), ..Node::default() };
            audit(&[node("JwtGate", "on"), node(name, args)]);
        }
    }
}

#[test]
fn trailers_must_not_become_headers() {
    let gated = "
        MergeTrailers on
        <Location />
            JwtGate on
        </Location>";
    expect(gated, &[("JG2106", 1)]);
    expect(&gated.replace("MergeTrailers on", "MergeTrailers off"), &[]);
    expect(&gated.replace("JwtGate on", "JwtGate off"), &[]);
    expect(
        "
        MergeTrailers on
        <VirtualHost *:1>
            MergeTrailers off
            <Location />
                JwtGate on
            </Location>
        </VirtualHost>",
        &[],
    );
}

#[test]
fn claims_are_not_there_before_the_token_is_looked_at() {
    let gate = "\n<Location />\nJwtGate on\n</Location>";
    for early in [
        r#"RewriteCond expr "jwt('role') == 'admin'""#,
        r#"RewriteCond expr "'admin' -in JWT_LIST ('roles')""#,
        r#"RewriteCond expr "%{jwt:role} == 'admin'""#,
        r#"SetEnvIfExpr "%{jwt:role} == 'admin'" ADMIN"#,
        "<If \"%{jwt:role} == 'admin'\">\n</If>",
        "<Location /x>\n</Location>\n<ElseIf \"jwt('role') -eq 1\">\n</ElseIf>",
    ] {
        let line = if early.contains("Location") { 3 } else { 1 };
        expect(&format!("\n{early}{gate}"), &[("JG2107", line)]);
        expect(&format!("\n{early}"), &[]);
    }
    for fine in [
        r#"RewriteCond %{REQUEST_URI} ^/jwt"#,
        r#"RewriteCond expr "my_jwt('role') == 'jwt'""#,
        "<Directory /srv>\nRewriteCond expr \"jwt('role') == 'admin'\"\n</Directory>",
        "<Location /x>\nRequire expr jwt('role') == 'admin'\n</Location>",
        "<If \"%{HTTP_HOST} == 'jwt.example'\">\n</If>",
        "RequestHeader set X-Role expr=%{jwt:role}",
    ] {
        expect(&format!("\n{fine}{gate}"), &[]);
    }
}

#[test]
fn users_are_named_of_one_issuer() {
    const USERS: &str = "JG2109";
    let site = |issuers: &str, section: &str| format!("\n{issuers}\nJwtGate on\n<Location /x>\n{section}\n</Location>");
    let (one, two) =
        ("JwtGateIssuer a https://a.example", "JwtGateIssuer a https://a.example\nJwtGateIssuer b https://b.example");
    for section in
        ["Require user alice", "Require not user alice", "Require group operators", "Require NOT DBM-group operators"]
    {
        expect(&site(two, section), &[(USERS, 5)]);
    }
    for (issuers, section) in [
        (one, "Require user alice"),
        (two, "Require valid-user"),
        (two, "Require jwt-group user"),
        (two, "JwtGate off\nRequire user alice"),
        (two, "JwtGateIssuers a\nRequire user alice"),
        (two, "AuthType Basic\nRequire user alice"),
    ] {
        expect(&site(issuers, section), &[]);
    }
    expect(&site(two, "JwtGateIssuers a b\nRequire user alice"), &[(USERS, 6)]);
}

#[test]
fn plans_that_are_required_are_defined() {
    const PLANS: &str = "JG2212";
    let site = |before: &str, line: &str| format!("\n{before}\nJwtGate on\n<Location /x>\n{line}\n</Location>");
    for line in ["Require jwt-plan silver", "Require not JWT-PLAN gold silver", "Require jwt-plan \"silver\" Gold"] {
        expect(&site("JwtGatePlan gold", line), &[(PLANS, 4)]);
    }
    let nested = "\nJwtGate on\n<Location /x>\n<RequireAll>\nRequire jwt-plan silver\n</RequireAll>\n</Location>";
    expect(nested, &[(PLANS, 4)]);
    for (before, line) in [
        ("JwtGatePlan gold rate=1/s", "Require jwt-plan gold"),
        ("JwtGatePlan gold", "Require not jwt-plan gold"),
        ("JwtGatePlan gold", "Require jwt-scope silver"),
        ("JwtGatePlan gold", "Require jwt-plan ${PLAN}"),
        ("JwtGatePlan ${PLAN}", "Require jwt-plan silver"),
    ] {
        expect(&site(before, line), &[]);
    }
    let found = findings(&site("JwtGatePlan gold", "Require jwt-plan silver gold bronze"));
    assert!(found[0].text.contains("no JwtGatePlan defines silver, bronze,"), "{}", found[0].text);
    // A virtual host has those of the main server and its own.
    let host = |inside: &str| format!("\nJwtGatePlan gold\n<VirtualHost *>\nJwtGate on\n{inside}\n</VirtualHost>");
    expect(&host("JwtGatePlan silver\nRequire jwt-plan gold silver"), &[]);
    let other = "\n<VirtualHost *>\nJwtGatePlan silver\n</VirtualHost>";
    expect(&(host("Require jwt-plan silver") + other), &[(PLANS, 4)]);
}

/// The subject of a token may be the id of a key.
#[test]
fn users_are_named_of_tokens_or_of_api_keys() {
    let site = |credentials: &str| {
        format!(
            "\nJwtGateIssuer a https://a.example\nJwtGate on\nJwtGateCredentials {credentials}\n<Location /x>\nRequire user \
             alice\n</Location>"
        )
    };
    for mixed in ["bearer api-key:X-Key", "API-Key:X-Key cookie:t", "api-key:X-A header:X-B api-key:X-C"] {
        expect(&site(mixed), &[("JG2109", 5)]);
    }
    for one in ["bearer", "bearer cookie:t", "api-key:X-Key", "api-key:X-A api-key:X-B", "bearer+api-key:X-Key"] {
        expect(&site(one), &[]);
    }
    expect(&site("bearer api-key:X-Key\n<Location />\nJwtGateCredentials bearer\n</Location>"), &[]);
}

#[test]
fn a_gate_on_one_application_is_none_on_another() {
    let on = |section: &str, name: &str| format!("<{section}>\nJwtGate on\n</{name}>");
    let part = |proxy: &str| {
        let proxy = on(proxy, "Proxy");
        format!("\nProxyPass / http://127.0.0.1:8000/\n{}\n{proxy}", on("Location /admin", "Location"))
    };
    let directory =
        |proxy: &str| format!("\nProxyPass / http://App:80/\n{}\n{proxy}", on("Directory /srv", "Directory"));
    for covering in ["*", "http://127.0.0.1:8000", "\"http://127.0.0.1:8000/*\"", "HTTP://127.0.0.1:8000/", "http*"] {
        expect(&part(&format!("Proxy {covering}")), &[]);
    }
    for other in ["http://127.0.0.1:80", "http://127.0.0.1:9000/*", "http://127.0.0.1:8000/admin"] {
        expect(&part(&format!("Proxy {other}")), &[(PART, 3)]);
    }
    expect(&part("Proxy ~ ^http://127"), &[]);
    expect(&directory(&on("Proxy http://app:80/*", "Proxy")), &[]);
    expect(&directory(&on("ProxyMatch ^http://other", "ProxyMatch")), &[]);
    expect(&directory(&on("Proxy http://other/*", "Proxy")), &[(DIRECTORY, 3)]);
}

#[test]
fn a_part_is_told_of_and_warned_about_where_paths_stay_as_the_client_wrote_them() {
    let severity = |more: &str, option: &str| {
        let text =
            format!("{more}\nProxyPass / http://127.0.0.1:8000/ {option}\n<Location /x>\nJwtGate on\n</Location>");
        let [finding] = audit(&tree(&text)).try_into().unwrap();
        assert_eq!(finding.id, PART);
        finding.severity
    };
    assert_eq!(severity("", ""), Severity::Notice);
    assert_eq!(severity("AllowEncodedSlashes On\nMergeSlashes On", "keepalive=On"), Severity::Notice);
    for (more, option) in
        [("", "nocanon"), ("", "mapping=encoded"), ("AllowEncodedSlashes NoDecode", ""), ("MergeSlashes Off", "")]
    {
        assert_eq!(severity(more, option), Severity::Warning, "{more} {option}");
    }
}

const INSIGHT: &str = "JG2110";

#[test]
fn what_only_administrators_should_see_is_not_for_everybody() {
    // Lines are counted from the first one.
    let check = |text: &str, expected: &[(&str, u32)]| expect(&format!("\n{text}"), expected);
    let page = |inside: &str| format!("<Location /m>\nSetHandler jwt-gate-metrics\n{inside}\n</Location>");
    check(&page(""), &[(INSIGHT, 2)]);
    check(&page("Require all granted"), &[(INSIGHT, 2)]);
    check(&page("JwtGate off"), &[(INSIGHT, 2)]);
    check("SetHandler JWT-GATE-STATUS", &[(INSIGHT, 1)]);
    for closed in [
        "Require local",
        "require ip 10.0.0.0/8",
        "<RequireAny>\nRequire all granted\nRequire local\n</RequireAny>",
        "Require all denied",
        "JwtGate on\nRequire jwt-scope admin",
    ] {
        check(&page(closed), &[]);
    }
    // All callers have a token.
    check(&page("JwtGate on"), &[(INSIGHT, 2)]);
    check(&page("JwtGate on\nJwtGateToken optional"), &[(INSIGHT, 2)]);
    check(&page("Require method POST"), &[(INSIGHT, 2)]);
    for token in ["Require valid-user", "Require jwt-issuer main"] {
        check(&page(&format!("JwtGate on\n{token}")), &[(INSIGHT, 2)]);
    }
    // Here another module knows its own few.
    check(&page("AuthType Basic\nRequire valid-user"), &[]);
    check(&page("JwtGate on\nAuthType Basic\nRequire valid-user"), &[]);
    // What is said of writing is not said of reading.
    check(&page("<Limit POST>\nRequire local\n</Limit>"), &[(INSIGHT, 2)]);
    check(&page("<LimitExcept GET>\nRequire all denied\n</LimitExcept>"), &[(INSIGHT, 2)]);
    check(&page("<Limit POST GET>\nRequire local\n</Limit>"), &[]);
    let rule = "RewriteRule ^/m$ - [H=jwt-gate-status]";
    check(&format!("{rule}\n<Location /m>\nRequire local\n</Location>"), &[]);
    check(&format!("{rule}\n<Location /n>\nRequire local\n</Location>"), &[(INSIGHT, 1)]);
    check("AddHandler jwt-gate-explain .explain", &[(INSIGHT, 1)]);
    check("RewriteRule ^/x$ - [L,H=jwt-gate-status]", &[(INSIGHT, 1)]);
    check("RewriteRule ^/x$ - [handler=server-status]", &[]);
    let around = |outside: &str, inside: &str| format!("<Location />\n{outside}\n</Location>\n{}", page(inside));
    check(&around("Require local", ""), &[]);
    check(&around("JwtGate on", ""), &[(INSIGHT, 5)]);
    // An inner line takes the place of the outer ones.
    check(&around("Require local", "Require all granted"), &[(INSIGHT, 5)]);
    check(&around("Require all granted", "Require local"), &[]);
    check(&around("JwtGate on", "JwtGate off"), &[(INSIGHT, 5)]);
    // What is said of files is not said of this.
    check(&format!("<Directory />\nRequire all denied\n</Directory>\n{}", page("")), &[(INSIGHT, 5)]);
    check(&format!("Require local\n<VirtualHost *:80>\n{}\n</VirtualHost>", page("")), &[]);
    check(&format!("<VirtualHost *:80>\n{}\n</VirtualHost>\nRequire local", page("")), &[]);
    check("<Location /m>\nSetHandler server-status\n</Location>", &[]);
    check("<Location /m>\nSetHandler jwt-gate-usage\nJwtGate on\n</Location>", &[]);
}

#[test]
fn usage_is_told_where_the_gate_is_on() {
    const USAGE: &str = "JG2112";
    let check = |text: &str, expected: &[(&str, u32)]| expect(&format!("\n{text}"), expected);
    let usage = |inside: &str| format!("<Location /usage>\nSetHandler jwt-gate-usage\n{inside}\n</Location>");
    let gate = |path: &str, mode: &str| format!("<{path}>\nJwtGate {mode}\n</Location>\n");
    check(&usage(""), &[(USAGE, 2)]);
    check(&usage("JwtGate off"), &[(USAGE, 2)]);
    check(&format!("{}{}", gate("Location /", "on"), usage("JwtGate off")), &[(USAGE, 5)]);
    check(&format!("{}{}", gate("Location /api", "on"), usage("")), &[(USAGE, 5)]);
    for on in ["JwtGate on", "JwtGate dry-run", "JwtGate on\nJwtGateToken optional"] {
        check(&usage(on), &[]);
    }
    check(&format!("{}{}", gate("Location /", "on"), usage("")), &[]);
    check(&format!("<VirtualHost *:80>\nJwtGate on\n{}\n</VirtualHost>", usage("")), &[]);
    // What a pattern selects is not seen.
    check(&format!("<LocationMatch ^/(api|usage)>\nJwtGate on\n</LocationMatch>\n{}", usage("")), &[]);
    check(&format!("<If \"true\">\nJwtGate on\n</If>\n{}", usage("")), &[]);
    check("<LocationMatch ^/u>\nSetHandler jwt-gate-usage\n</LocationMatch>", &[]);
}
