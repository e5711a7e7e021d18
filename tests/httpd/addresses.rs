//! Allowed and denied addresses: precedence, inheritance, networks, proxies in front, IPv6.

use crate::harness::{Request, Server, Site, ports};

/// Asserts which of these requests come in; the others must be refused for their address.
fn assert_admitted(server: &Server, cases: &[(&str, &str, bool)]) {
    for &(target, from, admitted) in cases {
        let request = server.get(target).from(from);
        if admitted {
            assert_eq!(request.status(), 200, "{target} from {from}");
        } else {
            server.refused(&request, 403, "address-denied");
        }
    }
}

#[test]
fn deny_wins_and_an_allow_list_denies_the_rest() {
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        <Location "/">
            JwtGate on
            JwtGateToken none
        </Location>
        <Location "/deny">
            JwtGateDeny 127.0.0.2 127.0.1.0/24
        </Location>
        <Location "/allow">
            JwtGateAllow 127.0.0.2 127.0.1.0/24
        </Location>
        <Location "/both">
            JwtGateAllow 127.0.0.0/24
            JwtGateDeny 127.0.0.2
        </Location>"#,
    );
    assert_admitted(
        &server,
        &[
            ("/", "127.0.0.2", true),
            ("/deny", "127.0.0.1", true),
            ("/deny", "127.0.0.2", false),
            ("/deny", "127.0.0.3", true),
            ("/deny", "127.0.0.255", true),
            ("/deny", "127.0.1.0", false),
            ("/deny", "127.0.1.254", false),
            ("/deny", "127.0.2.1", true),
            ("/allow", "127.0.0.1", false),
            ("/allow", "127.0.0.2", true),
            ("/allow", "127.0.1.7", true),
            ("/allow", "127.0.2.1", false),
            ("/both", "127.0.0.1", true),
            ("/both", "127.0.0.2", false),
            ("/both", "127.0.1.1", false),
        ],
    );
}

#[test]
fn an_own_allow_replaces_and_deny_adds_up_from_server_to_nested_location() {
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        JwtGateDeny 127.0.0.10
        <VirtualHost 127.0.0.1:${PORT}>
            ServerName gate.test
            JwtGateDeny 127.0.0.20
            <Location "/">
                JwtGate on
                JwtGateToken none
                JwtGateDeny 127.0.0.30
                JwtGateAllow 127.0.0.0/24
            </Location>
            <Location "/inner">
                JwtGateDeny 127.0.0.40
                JwtGateAllow 127.0.0.40 127.0.0.41
            </Location>
            <Location "/inner/cleared">
                JwtGateDeny none
            </Location>
            <Location "/inner/open">
                JwtGateAllow none
            </Location>
            <Location "/inner/restarted">
                JwtGateDeny none
                JwtGateDeny 127.0.0.41
            </Location>
        </VirtualHost>
        <VirtualHost 127.0.0.1:${PORT2}>
            ServerName gate.test
            <Location "/">
                JwtGate on
                JwtGateToken none
            </Location>
        </VirtualHost>"#,
    );
    assert_admitted(
        &server,
        &[
            ("/", "127.0.0.1", true),
            ("/", "127.0.1.1", false),
            ("/", "127.0.0.10", false),
            ("/", "127.0.0.20", false),
            ("/", "127.0.0.30", false),
            ("/", "127.0.0.40", true),
            ("/inner", "127.0.0.1", false),
            ("/inner", "127.0.0.40", false),
            ("/inner", "127.0.0.41", true),
            ("/inner/cleared", "127.0.0.40", true),
            ("/inner/cleared", "127.0.0.10", false),
            ("/inner/open", "127.0.0.1", true),
            ("/inner/open", "127.0.1.1", true),
            ("/inner/open", "127.0.0.10", false),
            ("/inner/open", "127.0.0.40", false),
            ("/inner/restarted", "127.0.0.40", true),
            ("/inner/restarted", "127.0.0.41", false),
        ],
    );
    let other = |from| server.get("/").to(server.second_address()).from(from);
    assert_eq!(other("127.0.0.20").status(), 200);
    server.refused(&other("127.0.0.10"), 403, "address-denied");
}

#[test]
fn networks_have_names() {
    let site = Site::new();
    site.write("conf/partners.txt", "# partners\n127.0.3.0/24\n\n127.0.4.4 # one machine\n2001:db8::/32\n");
    let server = site.start(
        r#"ProxyPass / ${APP}/
        JwtGateNetwork office 127.0.1.0/24 127.0.2.2 ::1
        JwtGateNetwork partners file=conf/partners.txt format=cidr
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateAllow @office @partners 127.0.9.9
            JwtGateDeny 127.0.1.13
        </Location>"#,
    );
    assert_admitted(
        &server,
        &[
            ("/", "127.0.0.1", false),
            ("/", "127.0.1.1", true),
            ("/", "127.0.1.13", false),
            ("/", "127.0.2.2", true),
            ("/", "127.0.2.3", false),
            ("/", "127.0.3.255", true),
            ("/", "127.0.4.4", true),
            ("/", "127.0.4.5", false),
            ("/", "127.0.9.9", true),
        ],
    );
}

#[test]
fn behind_a_trusted_proxy_the_client_counts_and_peer_is_the_proxy() {
    let server = Site::new().load(&["remoteip"]).start(
        r#"ProxyPass / ${APP}/
        RemoteIPHeader X-Forwarded-For
        RemoteIPInternalProxy 127.0.0.1
        <Location "/">
            JwtGate on
            JwtGateToken none
        </Location>
        <Location "/client">
            JwtGateAllow 203.0.113.0/24
        </Location>
        <Location "/client6">
            JwtGateAllow 2001:db8::/32
        </Location>
        <Location "/peer">
            JwtGateAllow peer:127.0.0.1
        </Location>
        <Location "/banned-peer">
            JwtGateDeny peer:127.0.0.0/24
        </Location>"#,
    );
    let via = |target: &str, from: &str, client: &str| server.get(target).from(from).header("X-Forwarded-For", client);
    for good in [
        via("/client", "127.0.0.1", "203.0.113.9"),
        via("/client", "127.0.0.1", "198.51.100.1, 203.0.113.9"),
        via("/client", "127.0.0.1", "::ffff:203.0.113.9"),
        via("/client6", "127.0.0.1", "2001:db8::1"),
        via("/peer", "127.0.0.1", "198.51.100.1"),
        via("/banned-peer", "127.0.1.1", "203.0.113.9"),
    ] {
        assert_eq!(good.status(), 200, "{good:?}");
    }
    for bad in [
        // 127.0.0.2 is not trusted: what it says of others does not count
        via("/client", "127.0.0.2", "203.0.113.9"),
        via("/client", "127.0.0.1", "203.0.113.9, 198.51.100.1"),
        via("/client", "127.0.0.1", "203.0.114.9"),
        via("/client6", "127.0.0.1", "2001:db9::1"),
        via("/peer", "127.0.0.2", "127.0.0.1"),
        via("/banned-peer", "127.0.0.1", "203.0.113.9"),
    ] {
        server.refused(&bad, 403, "address-denied");
    }
}

#[test]
fn a_trusted_header_without_trusted_proxies_is_warned_about() {
    let mut server = Site::new().load(&["remoteip"]).start(
        r#"ProxyPass / ${APP}/
        RemoteIPHeader X-Forwarded-For
        <Location "/">
            JwtGate on
            JwtGateToken none
            JwtGateAllow 127.0.0.1
        </Location>"#,
    );
    server.expect_log("RemoteIPHeader");
}

#[test]
fn ipv6_clients() {
    if !ports::has_ipv6() {
        return;
    }
    let server = Site::new().start(
        r#"ProxyPass / ${APP}/
        <Location "/">
            JwtGate on
            JwtGateToken none
        </Location>
        <Location "/denied">
            JwtGateDeny ::1
        </Location>
        <Location "/allowed">
            JwtGateAllow ::/64
        </Location>
        <Location "/only-v4">
            JwtGateAllow 0.0.0.0/0
        </Location>
        <Location "/only-v6">
            JwtGateAllow ::/0
        </Location>"#,
    );
    let six = |target| -> Request { server.get(target).to(([0, 0, 0, 0, 0, 0, 0, 1], server.port.number).into()) };
    assert_eq!(six("/allowed").status(), 200);
    assert_eq!(six("/only-v6").status(), 200);
    server.refused(&six("/denied"), 403, "address-denied");
    server.refused(&six("/only-v4"), 403, "address-denied");
    server.refused(&server.get("/only-v6"), 403, "address-denied");
}
