//! Files of JwtGateNetwork that change while the server runs: every process follows, soon and without a restart, and a
//! bad version changes nothing, whatever is restarted.

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::each_child::{EachChild, KEEP_ALIVE, answers_of_new_children};
use crate::harness::{AtEnd, Mpm, Request, Server, Site, await_true};

/// Clients are at the address in X-Client. `/` is open to all.
const FRONT: &str = r#"
    RemoteIPHeader X-Client
    RemoteIPInternalProxy 127.0.0.1
    ProxyPass / ${APP}/
    <Location "/">
        JwtGate on
        JwtGateToken none
    </Location>
"#;

/// The directives of a server with a network and two places for it, `/allow/NAME` and `/deny/NAME`.
fn network(name: &str, options: &str) -> String {
    format!(
        r#"JwtGateNetwork {name} file=conf/{name} {options}
        <Location "/allow/{name}">
            JwtGateAllow @{name}
        </Location>
        <Location "/deny/{name}">
            JwtGateDeny @{name}
        </Location>
        "#
    )
}

fn site() -> Site {
    Site::new().load(&["remoteip"])
}

fn start(site: Site, networks: &str) -> Server {
    site.start(&format!("{KEEP_ALIVE}{FRONT}{networks}"))
}

/// Requests from an address to both places of a network.
fn from(server: &Server, name: &str, address: &str) -> [Request; 2] {
    ["allow", "deny"].map(|place| server.get(&format!("/{place}/{name}")).header("X-Client", address))
}

/// What [`from`] is answered from inside of the network, from outside, and if the network cannot be had.
const INSIDE: [u16; 2] = [200, 403];
const OUTSIDE: [u16; 2] = [403, 200];
const CLOSED: [u16; 2] = [403, 403];

fn assert_each(children: &mut EachChild, requests: &[Request; 2], statuses: [u16; 2]) {
    for (request, status) in requests.iter().zip(statuses) {
        children.assert_status(request, status);
    }
}

fn await_each(children: &mut EachChild, requests: &[Request; 2], statuses: [u16; 2]) {
    for (request, status) in requests.iter().zip(statuses) {
        children.await_status(request, status);
    }
}

fn statuses(requests: &[Request; 2]) -> [u16; 2] {
    requests.each_ref().map(Request::status)
}

fn every_process_follows(mpm: Mpm) {
    let site = site().mpm(mpm).children(3);
    site.write("conf/n", "10.1.0.0/16\n2001:db8:1::/48\n");
    let server = start(site, &network("n", ""));
    let at = |address| from(&server, "n", address);
    let (olds, news) = (["10.1.2.3", "2001:db8:1::1"].map(at), ["10.2.2.3", "2001:db8:2::1"].map(at));
    let mut children = server.each_child();
    for (inside, outside) in [(&olds, &news), (&news, &olds), (&olds, &news)] {
        for request in inside {
            await_each(&mut children, request, INSIDE);
        }
        for request in outside {
            assert_each(&mut children, request, OUTSIDE);
        }
        let other = if std::ptr::eq(inside, &raw const olds) { 2 } else { 1 };
        server.write("conf/n", format!("10.{other}.0.0/16 # now\r\n2001:db8:{other}::/48"));
    }
    server.await_log_lines(3, "conf/n has changed: 2 networks are in use");
}

#[test]
fn every_process_follows_a_file_under_prefork() {
    every_process_follows(Mpm::Prefork);
}

#[test]
fn every_process_follows_a_file_under_worker() {
    every_process_follows(Mpm::Worker);
}

#[test]
fn every_process_follows_a_file_under_event() {
    every_process_follows(Mpm::Event);
}

/// As AWS publishes it, with so many networks of each of four services in each of twenty regions, in 10.0.0.0/8.
fn ip_ranges(each: usize) -> String {
    let mut prefixes = Vec::new();
    for (place, service) in ["AMAZON", "S3", "EC2", "CLOUDFRONT"].into_iter().enumerate() {
        for region in 0..20 {
            // All of it is listed for AMAZON, too.
            let first = if place == 0 { 1 } else { place };
            prefixes.extend((0..each).map(|n| {
                json!({
                    "ip_prefix": format!("10.{}.{n}.0/24", first * 20 + region),
                    "region": format!("xx-region-{region}"),
                    "service": service,
                    "network_border_group": format!("xx-region-{region}"),
                })
            }));
        }
    }
    let six = json!({
        "ipv6_prefix": "2001:db8::/32",
        "region": "xx-region-7",
        "service": "S3",
        "network_border_group": "xx-region-7",
    });
    let document = json!({
        "syncToken": "1763000000",
        "createDate": "2026-11-14-00-00-00",
        "prefixes": prefixes,
        "ipv6_prefixes": [six],
    });
    serde_json::to_string_pretty(&document).unwrap()
}

/// What may be wrong with a file: the options of its network, its new content (`None`: it is gone) and what must be said
/// of it. Before, it names 10.0.0.0/24 to 10.0.9.0/24.
const BAD: [(&str, &str, Option<&str>, &str); 12] = [
    ("broken", "", Some("10.1.0.0/24\n10.1.0.0/33\n"), "line 2: \"33\" is not a prefix length"),
    ("host-bits", "", Some("10.1.0.1/24\n"), "line 1: 10.1.0.1/24 has host bits set"),
    ("emptied", "shrink=allow", Some(""), "the list holds no network"),
    ("commented", "shrink=allow", Some("# none\n"), "the list holds no network"),
    ("page", "", Some("<html>\n"), "line 1: \"<html>\" is not an address"),
    ("absent", "", None, "cannot be read: No such file or directory"),
    (
        "shrunk",
        "",
        Some("10.1.0.0/24\n10.1.1.0/24\n10.1.2.0/24\n10.1.3.0/24\n"),
        "has 4 networks, fewer than half of the 10 before",
    ),
    ("cut", "format=aws", Some("{\"prefixes\":[\n{\"ip_prefix\":\"10.1.0.0/24\"},\n"), "line 3: not JSON"),
    (
        "trailing",
        "format=aws",
        Some("{\"prefixes\":[{\"ip_prefix\":\"10.1.0.0/24\"}]}\nmore"),
        "line 2: not JSON at column 1",
    ),
    (
        "wrong-type",
        "format=aws shrink=allow",
        Some("{\"prefixes\":[\n{\"ip_prefix\":10}]}"),
        "line 2: invalid type: integer `10`, expected \"ip_prefix\" as text",
    ),
    ("no-prefix", "format=aws shrink=allow", Some("{\"prefixes\":[]}"), "the list holds no network"),
    (
        "no-service",
        "format=aws service=S3 shrink=allow",
        Some("{\"prefixes\":[{\"ip_prefix\":\"10.1.0.0/24\",\"service\":\"EC2\"}]}"),
        "no network has `service=S3`: the file has `EC2`",
    ),
];

/// A good file with these ten networks, as the options ask for it.
fn ten(options: &str, second: u8) -> String {
    let networks = (0..10).map(|n| format!("10.{second}.{n}.0/24"));
    if options.starts_with("format=aws") {
        let entries = networks.map(|network| json!({"ip_prefix": network, "region": "r", "service": "S3"}));
        return json!({"prefixes": entries.collect::<Vec<_>>(), "ipv6_prefixes": []}).to_string();
    }
    networks.collect::<Vec<_>>().join("\n")
}

fn write_all(site: &Site, second: u8) {
    for (name, options, ..) in BAD {
        site.write(&format!("conf/{name}"), ten(options, second));
    }
}

fn spoil_all(site: &Site) {
    for (name, _, content, _) in BAD {
        match content {
            Some(content) => drop(site.write(&format!("conf/{name}"), content)),
            None => fs::remove_file(site.root.join(format!("conf/{name}"))).unwrap(),
        }
    }
}

fn bad_networks() -> String {
    BAD.map(|(name, options, ..)| network(name, options)).concat()
}

/// Asserts that the networks are those of [`ten`], in each process.
fn assert_all(server: &Server, second: u8) {
    let mut children = server.each_child();
    for (name, ..) in BAD {
        assert_each(&mut children, &from(server, name, &format!("10.{second}.9.7")), INSIDE);
        assert_each(&mut children, &from(server, name, &format!("10.{}.0.7", second ^ 1)), OUTSIDE);
    }
}

/// Waits for a line about each of the files, and declares it.
fn await_told(server: &mut Server, id: &str, end: &str) {
    for (name, _, _, why) in BAD {
        let path = server.root.join(format!("conf/{name}"));
        let said = format!("{}: {why}", path.display());
        server.expect_log(&said);
        await_true(&format!("{id} of {name}"), || {
            let text = server.log.text();
            text.lines().any(|line| {
                line.contains(&format!("{id} JwtGateNetwork {name} (line "))
                    && line.contains(&said)
                    && line.ends_with(end)
            })
        });
    }
}

#[test]
fn a_bad_new_version_changes_nothing_and_no_restart_either() {
    let site = site();
    write_all(&site, 0);
    let mut server = start(site, &bad_networks());
    assert_all(&server, 0);
    spoil_all(&server);
    await_told(&mut server, "JG4007", "its last good version stays in use");
    assert_all(&server, 0);
    server.graceful();
    await_told(&mut server, "JG2002", "its last good version stays in use");
    assert_all(&server, 0);
    // From here on, it is the state folder that knows.
    server.stop_and_start(|_| {});
    assert_all(&server, 0);
    assert_eq!(server.log.count("JG2002"), 2 * BAD.len());
    write_all(&server, 1);
    for (name, ..) in BAD {
        server.await_log_lines(1, &format!("{name} has changed: 10 networks"));
    }
    let mut children = server.each_child();
    for (name, ..) in BAD {
        await_each(&mut children, &from(&server, name, "10.1.9.7"), INSIDE);
    }
    drop(children);
    assert_all(&server, 1);
}

#[test]
fn a_bad_file_at_the_first_start_allows_nobody_and_denies_everybody() {
    let site = site();
    write_all(&site, 0);
    spoil_all(&site);
    let check = site.configtest(&format!("{FRONT}{}", bad_networks()));
    assert!(!check.passed);
    for (name, _, _, why) in BAD.iter().filter(|(name, ..)| *name != "shrunk") {
        let mistake = format!("{}: {why}", site.root.join(format!("conf/{name}")).display());
        assert!(check.output.contains(&mistake), "{mistake}\n{}", check.output);
    }
    // Nobody knows of more than there are.
    site.write("conf/shrunk", "nothing");
    let mut server = start(site, &bad_networks());
    let closed = "until it can be read, it allows nobody and denies everybody";
    assert_eq!(server.log.count("JG2002 JwtGateNetwork "), BAD.len());
    assert_eq!(server.log.count(closed), BAD.len());
    for (name, ..) in BAD {
        server.expect_log(&format!("conf/{name}: "));
        assert_eq!(statuses(&from(&server, name, "10.0.0.7")), CLOSED, "{name}");
    }
    write_all(&server, 0);
    let mut children = server.each_child();
    for (name, ..) in BAD {
        await_each(&mut children, &from(&server, name, "10.0.0.7"), INSIDE);
    }
    assert_all(&server, 0);
}

#[test]
fn a_file_that_may_shrink_does() {
    let site = site();
    site.write("conf/n", ten("", 0));
    let server = start(site, &network("n", "shrink=allow"));
    let (kept, left_out) = (from(&server, "n", "10.0.3.7"), from(&server, "n", "10.0.4.7"));
    let mut children = server.each_child();
    assert_each(&mut children, &left_out, INSIDE);
    server.write("conf/n", "10.0.3.0/24\n");
    await_each(&mut children, &left_out, OUTSIDE);
    assert_each(&mut children, &kept, INSIDE);
    server.await_log("conf/n has changed: 1 network is in use");
}

#[test]
fn a_file_that_has_shrunk_is_in_use_once_the_directive_says_so() {
    let site = site();
    site.write("conf/n", ten("", 0));
    let mut server = start(site, &network("n", ""));
    server.write("conf/n", "10.0.3.0/24\n");
    server.expect_log("write `shrink=allow` behind it; its last good version stays in use");
    server.await_log("JG4007");
    let left_out = from(&server, "n", "10.0.4.7");
    assert_eq!(statuses(&left_out), INSIDE);
    server.graceful_with(&format!("{KEEP_ALIVE}{FRONT}{}", network("n", "shrink=allow")));
    assert_eq!(statuses(&left_out), OUTSIDE);
    // Half as many are not fewer than half.
    server.graceful_with(&format!("{KEEP_ALIVE}{FRONT}{}", network("n", "")));
    server.write("conf/n", "10.0.3.0/24\n10.0.5.0/24\n");
    let mut children = server.each_child();
    await_each(&mut children, &from(&server, "n", "10.0.5.7"), INSIDE);
    server.write("conf/n", "10.0.5.0/24\n");
    await_each(&mut children, &from(&server, "n", "10.0.3.7"), OUTSIDE);
}

#[test]
fn the_ranges_of_aws_are_chosen_by_service_and_region() {
    let site = site();
    // 8,001 entries.
    let ranges = ip_ranges(100);
    for name in ["all", "s3", "seven", "s3-seven"] {
        site.write(&format!("conf/{name}"), &ranges);
    }
    let networks = [
        network("all", "format=aws"),
        network("s3", "format=aws service=s3"),
        network("seven", "format=aws region=XX-region-7"),
        network("s3-seven", "format=aws service=EC2,S3 region=xx-region-7"),
    ];
    let directives = networks.concat();
    let check = site.configtest(&format!("{FRONT}{directives}"));
    assert!(check.passed, "{}", check.output);
    let check = site.configtest(&format!("{FRONT}{}", network("all", "format=aws service=S4")));
    assert!(!check.passed && check.output.contains("the file has `AMAZON`, `CLOUDFRONT`, `EC2`, `S3`"), "{check:?}");
    let server = start(site, &directives);
    let inside =
        |name: &str, addresses: [&str; 6]| addresses.map(|address| statuses(&from(&server, name, address)) == INSIDE);
    // S3 in the regions 0 and 7, EC2, CloudFront and S3 over IPv6 in region 7, and what is not there.
    let addresses = ["10.20.50.1", "10.27.99.1", "10.47.99.1", "10.67.0.1", "2001:db8::1", "10.27.100.1"];
    assert_eq!(inside("all", addresses), [true, true, true, true, true, false]);
    assert_eq!(inside("s3", addresses), [true, true, false, false, true, false]);
    assert_eq!(inside("seven", addresses), [false, true, true, true, true, false]);
    assert_eq!(inside("s3-seven", addresses), [false, true, true, false, true, false]);
    let mut children = server.each_child();
    let added = from(&server, "s3-seven", "10.27.100.1");
    assert_each(&mut children, &added, OUTSIDE);
    server.write("conf/s3-seven", ip_ranges(101));
    await_each(&mut children, &added, INSIDE);
    server.await_log("conf/s3-seven has changed: 203 networks are in use");
}

/// A hundred thousand networks of one address each, with this first octet.
fn long_list(first: u8) -> String {
    (0..100_000_u32).fold(String::new(), |mut text, n| {
        writeln!(text, "{first}.{}.{}.{}", n >> 15, n >> 7 & 0xff, n << 1 & 0xff).unwrap();
        text
    })
}

/// How many processes have a compiled list mapped.
fn mapping(server: &Server) -> usize {
    let maps = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    server.children().iter().filter(|pid| maps(pid).contains("/state/")).count()
}

#[test]
fn a_hundred_thousand_networks_are_mapped_by_all_processes() {
    let site = site().children(3);
    site.write("conf/n", long_list(10));
    let mut server = start(site, &network("n", ""));
    let all = |first: u8, address: &str| from(&server, "n", &format!("{first}.{address}"));
    let [old, new] = [10, 11].map(|first| ["0.0.0", "1.170.190", "3.13.62"].map(|address| all(first, address)));
    let beside = [10, 11].map(|first| ["0.0.1", "1.170.191", "3.13.64"].map(|address| all(first, address)));
    let mut children = server.each_child();
    for requests in &old {
        assert_each(&mut children, requests, INSIDE);
    }
    server.write("conf/n", long_list(11));
    for requests in &new {
        await_each(&mut children, requests, INSIDE);
    }
    for requests in old.iter().chain(beside.iter().flatten()) {
        assert_each(&mut children, requests, OUTSIDE);
    }
    assert_eq!(mapping(&server), 3);
    drop(children);
    server.graceful();
    assert_eq!(new.each_ref().map(statuses), [INSIDE; 3]);
    assert_eq!(answers_of_new_children(&mut server, &old[0][0]), [403].into());
}

#[test]
fn a_list_that_is_being_written_is_not_in_use_before_it_is_whole() {
    let site = site();
    for name in ["lines", "aws"] {
        site.write(&format!("conf/{name}"), ten("", 0));
    }
    site.write("conf/aws", ten("format=aws", 0));
    let server = start(site, &[network("lines", "shrink=allow"), network("aws", "format=aws shrink=allow")].concat());
    let names = ["lines", "aws"];
    let kept = names.map(|name| from(&server, name, "10.0.9.7"));
    let new = names.map(|name| from(&server, name, "10.1.9.7"));
    let mut children = server.each_child();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let begin = |name: &'static str, content: String| {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let _end = AtEnd(done);
                // Cut off first, then longer than it takes to find out that a file changes no more.
                server.write_slowly(&format!("conf/{name}"), content, 70);
            });
        };
        let (zero, one) = (ten("", 0), ten("", 1));
        begin("lines", format!("{}\n{one}\n{zero}\n", "# a comment\n".repeat(50)));
        let entries = (0..10).flat_map(|n| [1, 0].map(|second| json!({"ip_prefix": format!("10.{second}.{n}.0/24")})));
        begin("aws", serde_json::to_string_pretty(&json!({"prefixes": entries.collect::<Vec<_>>()})).unwrap());
        while !done.load(Ordering::Acquire) {
            for request in &kept {
                assert_each(&mut children, request, INSIDE);
            }
        }
    });
    for (kept, new) in kept.iter().zip(&new) {
        await_each(&mut children, new, INSIDE);
        assert_each(&mut children, kept, INSIDE);
    }
}

#[test]
fn without_the_state_folder_all_follow_and_a_restart_makes_it_anew() {
    let site = site();
    site.write("conf/n", ten("", 0));
    let mut server = start(site, &network("n", ""));
    fs::remove_dir_all(server.root.join("state")).unwrap();
    server.write("conf/n", ten("", 1));
    server.expect_log("JG4004");
    let new = from(&server, "n", "10.1.0.7");
    await_each(&mut server.each_child(), &new, INSIDE);
    server.await_log("JG4004");
    assert_eq!(mapping(&server), 0);
    server.graceful();
    assert_eq!(statuses(&new), INSIDE);
    assert_eq!(fs::read_dir(server.root.join("state")).unwrap().count(), 1);
    // Without it and without a good file, nobody knows.
    server.expect_log("JG2002");
    server.stop_and_start(|site| {
        fs::remove_dir_all(site.root.join("state")).unwrap();
        site.write("conf/n", "nothing");
    });
    assert_eq!(statuses(&new), CLOSED);
}

#[test]
fn a_list_of_the_state_folder_that_is_no_good_is_read_anew() {
    let site = site();
    site.write("conf/n", ten("", 0));
    let mut server = start(site, &network("n", ""));
    let list = fs::read_dir(server.root.join("state")).unwrap().next().unwrap().unwrap().path();
    server.expect_log("JG2205 JwtGateStateDir: ");
    server.stop_and_start(|_| fs::write(&list, "no list").unwrap());
    assert_eq!(statuses(&from(&server, "n", "10.0.0.7")), INSIDE);
    assert_eq!(statuses(&from(&server, "n", "10.1.0.7")), OUTSIDE);
    server.await_log("this is no compiled list of networks");
    server.stop_and_start(|_| {});
    assert_eq!(server.log.count("JG2205"), 1);
}

#[test]
fn a_virtual_host_has_its_own_network_of_a_name_or_that_of_the_main_server() {
    let site = site();
    for (file, second) in [("n", 0), ("own", 1)] {
        site.write(&format!("conf/{file}"), ten("", second));
    }
    let server = start(
        site,
        &format!(
            r#"{}
            <VirtualHost *:${{PORT}}>
                ServerName heir.test
            </VirtualHost>
            <VirtualHost *:${{PORT}}>
                ServerName own.test
                JwtGateNetwork n file=conf/own
            </VirtualHost>"#,
            network("n", "")
        ),
    );
    let mut children = server.each_child();
    let mut await_inside = |host: &str, second: u8| {
        for (at, statuses) in [(second, INSIDE), (second ^ 1, OUTSIDE)] {
            let request = |place| server.get(&format!("http://{host}.test/{place}/n"));
            let requests = ["allow", "deny"].map(|place| request(place).header("X-Client", format!("10.{at}.0.7")));
            await_each(&mut children, &requests, statuses);
        }
    };
    await_inside("heir", 0);
    await_inside("own", 1);
    server.write("conf/own", ten("", 0));
    await_inside("own", 0);
    await_inside("heir", 0);
    server.write("conf/n", ten("", 1));
    await_inside("heir", 1);
    await_inside("own", 0);
}

#[test]
fn a_network_of_everybody_is_warned_about_where_it_is_used() {
    let site = site();
    site.write("conf/halves", "0.0.0.0/1\n128.0.0.0/1\n");
    site.write("conf/later", "10.0.0.0/8\n");
    let directives = format!(
        r#"{}{}
        JwtGateNetwork everybody 0.0.0.0/0 ::/0
        JwtGateNetwork unused ::/0
        <Location "/limited">
            JwtGateLimit few key=address rate=1/d exempt=@everybody
        </Location>"#,
        network("halves", ""),
        network("later", ""),
    );
    let lines = [
        "holds all of IPv4: JwtGateAllow @halves allows everybody there",
        "holds all of IPv4: JwtGateDeny @halves denies everybody there",
        "holds all of IPv4 and IPv6: JwtGateLimit exempt=@everybody counts nobody there",
    ];
    let check = site.configtest(&format!("{FRONT}{directives}"));
    assert!(check.passed && lines.iter().all(|line| check.output.contains(line)), "{check:?}");
    let mut server = start(site, &directives);
    for line in lines {
        server.expect_log(line);
    }
    assert_eq!(server.log.count("JG2210"), lines.len());
    assert_eq!(statuses(&from(&server, "halves", "10.0.0.7")), INSIDE);
    server.write("conf/later", "0.0.0.0/0\n");
    server.expect_log("JwtGateAllow @later allows everybody there");
    server.expect_log("JwtGateDeny @later denies everybody there");
    server.await_log("JwtGateDeny @later denies everybody there");
    assert_eq!(server.log.count("JG2210"), lines.len() + 2);
}
