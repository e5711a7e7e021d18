//! Setup 0: an API gateway in front of httpd in front of FastAPI.

use serde_json::{Value, json};

use crate::harness::await_true;
use crate::harness::example::{Example, Running};

const NAME: &str = "0-behind-api-gateway";
const HEADING: &str = "0. Behind an API gateway";

/// An address of the own gateway's region, one of another region's, and one of another service.
const GATEWAY: &str = "127.1.0.10";
const ELSEWHERE: [&str; 3] = ["127.2.0.10", "127.3.0.10", "127.0.0.1"];

/// What Amazon publishes, with these networks of the gateways of the own region.
fn ip_ranges(own: &[&str]) -> String {
    let prefix = |network: &str, region: &str, service: &str| json!({"ip_prefix": network, "region": region, "service": service, "network_border_group": region});
    let mut prefixes: Vec<Value> = own.iter().map(|network| prefix(network, "eu-central-1", "API_GATEWAY")).collect();
    prefixes.push(prefix("127.2.0.0/16", "eu-west-1", "API_GATEWAY"));
    prefixes.push(prefix("127.3.0.0/16", "eu-central-1", "EC2"));
    json!({"syncToken": "1790000000", "createDate": "2026-10-01-00-00-00", "prefixes": prefixes, "ipv6_prefixes": []})
        .to_string()
}

/// The setup, and the gateway's secret.
fn start() -> (Running, String) {
    let example = Example::install(NAME, &[("ip-ranges/ip-ranges.json", &ip_ranges(&["127.1.0.0/16"]))]);
    let key = example.shell_variable("KEY");
    (example.start("api.service"), key)
}

#[test]
fn readme_of_the_gateway_tells_what_happens() {
    let (running, _) = start();
    running.follow_readme(HEADING, &[("gateway", GATEWAY), ("elsewhere", ELSEWHERE[2])]);
}

#[test]
fn only_the_gateway_with_its_secret_gets_through() {
    let (running, key) = start();
    let get = |from: &str| running.request("GET", "api.example.com", "/pods/blue/7").from(from);
    let answer = get(GATEWAY).header("api-key", &key).header("X-Gateway", "forged").send();
    assert_eq!(answer.json(), json!({"method": "GET", "pod": "blue/7", "gateway": "api-gateway"}));
    assert_eq!(answer.header("Strict-Transport-Security"), Some("max-age=31536000"));
    for address in ELSEWHERE {
        running.server.refused(&get(address).header("api-key", &key), 403, "address-denied");
    }
    running.server.refused(&get(GATEWAY), 401, "token-missing");
    running.server.refused(&get(GATEWAY).header("api-key", format!("{key}x")), 401, "api-key-invalid");
    running.server.refused(&get(GATEWAY).bearer(&key), 401, "token-missing");
    // The gate is before everything, also before what is not forwarded.
    running.server.refused(
        &running.request("GET", "api.example.com", "/other").from(ELSEWHERE[2]),
        403,
        "address-denied",
    );
    assert_eq!(running.request("GET", "api.example.com", "/other").from(GATEWAY).header("api-key", &key).status(), 404);
    let moved = running.server.request("GET", "/pods/blue").to(running.server.second_address()).send();
    assert_eq!((moved.status, moved.header("Location")), (301, Some("https://api.example.com/pods/blue")));
    running.access_log("gateway.log", " 127.1.0.10 \"GET /pods/blue/7\" 200 allow -");
    let log = running.access_log("gateway.log", " 127.2.0.10 \"GET /pods/blue/7\" 403 deny address-denied");
    assert!(!log.contains(&key));
}

#[test]
fn a_new_list_of_the_timer_is_in_use_without_a_restart() {
    let (running, key) = start();
    let status =
        |from: &str| running.request("GET", "api.example.com", "/pods/x").from(from).header("api-key", &key).status();
    let published = running.server.write("published.json", ip_ranges(&["127.4.0.0/16"]));
    let fetch = || {
        let here = format!("file://{}", published.display());
        running.run_unit("ip-ranges.service", "ip-ranges", "https://ip-ranges.amazonaws.com/ip-ranges.json", &here);
    };
    assert_eq!((status(GATEWAY), status("127.4.0.10")), (200, 403));
    fetch();
    await_true("the new list in all processes", || {
        (0..8).all(|_| status("127.4.0.10") == 200 && status(GATEWAY) == 403)
    });
    assert!(
        std::fs::read_to_string(running.server.root.join("systemctl"))
            .unwrap()
            .contains("enable --now ip-ranges.timer")
    );
}

#[test]
fn the_application_listens_on_loopback_alone() {
    let (running, _) = start();
    // local_address is that of /proc/net/tcp: 127.0.0.1 in the order of the machine, and the port
    let port = format!(":{:04X}", running.application.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap()
        + &std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let listens: Vec<&str> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (fields.get(3) == Some(&"0A") && fields[1].ends_with(&port)).then(|| fields[1])
        })
        .collect();
    assert_eq!(listens, [format!("0100007F{port}")]);
}

#[test]
fn the_lines_for_a_managed_certificate_are_good() {
    Example::install(NAME, &[("ip-ranges/ip-ranges.json", &ip_ranges(&["127.1.0.0/16"]))]).managed_certificate();
}
