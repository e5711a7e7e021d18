//! Which requests share a bucket: each kind of key, and combinations of them.

use jwt_gate_core::net::address::AddressPrefix;

use super::gate_fixture::*;
use super::token_mint::ISS;

/// The requests in each group share a bucket, and no two groups do.
fn assert_buckets(gate: &Gate, key: &str, groups: &[&[Request]]) {
    // The anonymous may pass where the key does not need to know them.
    let policy = gate.policy(&["Token optional", &format!("Limit limit key={key} rate=1/h burst=1")]);
    for group in groups {
        assert_eq!(gate.word(&policy, &group[0]), "ok", "{key}: no bucket of its own: {:?}", group[0]);
        for request in *group {
            assert_eq!(gate.word(&policy, request), "rate-limited", "{key}: apart from its like: {request:?}");
        }
    }
}

/// A token of `login` with these claims.
fn claims(more: &str) -> Request {
    with(token_of(Some(ISS), more))
}

#[test]
fn global() {
    assert_buckets(&Gate::new(), "global", &[&[from("192.0.2.1"), from("2001:db8::1"), with(token_for("alice"))]]);
}

#[test]
fn address() {
    let groups = [
        &[from("192.0.2.1"), from("::ffff:192.0.2.1"), from("192.0.2.1").peer("192.0.2.9")][..],
        &[from("192.0.2.2")],
        &[from("::192.0.2.1"), from("::")],
        &[from("2001:db8::1"), from("2001:db8::"), from("2001:db8:0:0:ffff:ffff:ffff:ffff")],
        &[from("2001:db8:0:1::"), from("2001:db8:0:1::1")],
    ];
    // `::192.0.2.1` lies in the /64 of `::`, and is another than 192.0.2.1.
    assert_buckets(&Gate::new(), "address", &groups);
    assert_buckets(&Gate::new(), "global+address", &groups);

    let mut gate = Gate::new();
    gate.tables.prefix = AddressPrefix::parse("24", "56").unwrap();
    let groups = [
        &[from("192.0.2.1"), from("192.0.2.255"), from("::ffff:192.0.2.7")][..],
        &[from("192.0.3.0")],
        &[from("2001:db8::1"), from("2001:db8:0:ff::1")],
        &[from("2001:db8:0:100::")],
    ];
    assert_buckets(&gate, "address", &groups);
}

#[test]
fn peer() {
    let groups = [
        &[from("192.0.2.1").peer("10.0.0.1"), from("192.0.2.2").peer("10.0.0.1"), from("::1").peer("::ffff:10.0.0.1")]
            [..],
        &[from("192.0.2.1").peer("10.0.0.2")],
        // The prefix of addresses is about clients.
        &[from("192.0.2.1").peer("2001:db8::1")],
        &[from("192.0.2.1").peer("2001:db8::2")],
        &[from("10.0.0.1").peer("192.0.2.1")],
    ];
    assert_buckets(&Gate::new(), "peer", &groups);
}

#[test]
fn address_and_peer() {
    let groups = [
        &[from("192.0.2.1").peer("10.0.0.1"), from("192.0.2.1").peer("10.0.0.1").bearer(token_for("alice"))][..],
        &[from("192.0.2.1").peer("10.0.0.2")],
        &[from("192.0.2.2").peer("10.0.0.1")],
        &[from("10.0.0.1").peer("192.0.2.1")],
    ];
    assert_buckets(&Gate::new(), "address+peer", &groups);
}

#[test]
fn subject_is_always_with_its_issuer() {
    let alice = r#""sub":"alice""#;
    let groups = [
        &[claims(alice), from("203.0.113.1").bearer(token_for("alice")), claims(r#""sub":"alice","azp":"app""#)][..],
        &[with(token_of(Some(OTHER), alice))],
        &[with(token_of(None, alice))],
        &[claims(r#""sub":"Alice""#)],
        &[claims(r#""sub":"alice ""#)],
        &[claims(r#""sub":"alice\u0000""#)],
        &[claims(""), claims(r#""sub":"""#)],
        &[with(token_of(Some(OTHER), ""))],
        &[with(token_of(None, ""))],
    ];
    assert_buckets(&Gate::new(), "subject", &groups);
    assert_buckets(&Gate::new(), "subject+issuer", &groups);
    assert_buckets(&Gate::new(), "issuer+subject", &groups);
}

#[test]
fn client_is_azp_else_client_id() {
    let groups = [
        &[claims(r#""azp":"app""#), claims(r#""client_id":"app""#), claims(r#""azp":"app","client_id":"web""#)][..],
        &[claims(r#""azp":"App""#)],
        &[claims(r#""azp":"web""#), claims(r#""azp":"","client_id":"web""#)],
        &[claims(""), claims(r#""azp":"""#), claims(r#""azp":"","client_id":"""#), claims(r#""sub":"app""#)],
    ];
    assert_buckets(&Gate::new(), "client", &groups);
}

#[test]
fn issuer() {
    let groups = [
        &[claims(r#""sub":"alice""#), claims(r#""sub":"bob""#)][..],
        &[with(token_of(Some(OTHER), r#""sub":"alice""#))],
        &[with(token_of(None, "")), with(token_of(None, r#""sub":"alice""#))],
    ];
    assert_buckets(&Gate::new(), "issuer", &groups);
    assert_buckets(&Gate::new(), "global+issuer", &groups);
}

/// Addresses in debt take all places for keys; each issuer has one that they cannot take.
#[test]
fn issuers_have_reserved_places() {
    let gate = Gate::new();
    let address = gate.policy(&["Token none", "Limit address key=address rate=1/h burst=1"]);
    for number in 0..5_000 {
        let _ = gate.word(&address, &from(&format!("10.0.{}.{}", number / 256, number % 256)));
    }
    assert_eq!(gate.word(&address, &from("192.0.2.1")), "rate-limited", "there is no room left");
    let groups = [&[claims("")][..], &[with(token_of(Some(OTHER), ""))], &[with(token_of(None, ""))]];
    assert_buckets(&gate, "issuer", &groups);
}

#[test]
fn claim() {
    let groups = [
        &[
            claims(r#""tenant":"a""#),
            claims(r#""tenant":"a","sub":"bob""#),
            with(token_of(Some(OTHER), r#""tenant":"a""#)),
        ][..],
        &[claims(r#""tenant":"A""#)],
        &[claims(r#""tenant":"b""#)],
        &[claims(r#""tenant":"""#)],
        &[claims(r#""tenant":"null""#)],
        &[claims(r#""tenant":1"#), claims(r#""tenant":1,"sub":"bob""#)],
        &[claims(r#""tenant":-1"#)],
        &[claims(r#""tenant":1.5"#), claims(r#""tenant":15e-1"#)],
        &[claims(r#""tenant":18446744073709551615"#)],
        &[claims(r#""tenant":18446744073709551614"#)],
        &[claims(r#""tenant":true"#)],
        &[claims(r#""tenant":false"#)],
        // No value that could be counted: one bucket for all of them.
        &[
            claims(""),
            claims(r#""tenant":null"#),
            claims(r#""tenant":["a"]"#),
            claims(r#""tenant":{"a":"b"}"#),
            with(token_of(None, "")),
        ],
    ];
    assert_buckets(&Gate::new(), "claim:tenant", &groups);
    let nested = [
        &[claims(r#""org":{"id":"a"}"#), claims(r#""org.id":"a""#)][..],
        &[claims(r#""org.id":"b","org":{"id":"a"}"#)],
        &[claims(r#""org":"a""#), claims("")],
    ];
    assert_buckets(&Gate::new(), "claim:org.id", &nested);
}

#[test]
fn combinations_do_not_run_into_each_other() {
    let both = |subject, client| claims(&format!(r#""sub":"{subject}","azp":"{client}""#));
    let groups = [
        &[both("a", "b")][..],
        &[both("ab", ""), claims(r#""sub":"ab""#)],
        &[both("", "ab"), claims(r#""azp":"ab""#)],
        &[both("a", "bc")],
        &[both("ab", "c")],
        &[both("b", "a")],
        &[both("a", "")],
        &[both("", "a")],
        &[both("", ""), claims("")],
    ];
    assert_buckets(&Gate::new(), "subject+client", &groups);
    assert_buckets(&Gate::new(), "client+subject", &groups);

    let groups = [
        &[claims(r#""a":"x","b":"y""#)][..],
        &[claims(r#""a":"xy","b":"""#)],
        &[claims(r#""a":"xy""#)],
        &[claims(r#""b":"xy""#)],
        &[claims(r#""a":"","b":"xy""#)],
        &[claims(r#""a":"y","b":"x""#)],
        &[claims("")],
    ];
    assert_buckets(&Gate::new(), "claim:a+claim:b", &groups);
}

#[test]
fn address_and_subject_both_count() {
    let ask = |client: &str, subject| from(client).bearer(token_for(subject));
    let groups = [
        &[ask("192.0.2.1", "alice"), ask("::ffff:192.0.2.1", "alice")][..],
        &[ask("192.0.2.1", "bob")],
        &[ask("192.0.2.2", "alice")],
        &[ask("192.0.2.2", "bob")],
    ];
    assert_buckets(&Gate::new(), "address+subject", &groups);
}

#[test]
fn a_limit_is_its_name() {
    let gate = Gate::new();
    let limit = |name: &str| gate.policy(&["Token none", &format!("Limit {name} key=address rate=1/h burst=1")]);
    let (here, there, other) = (limit("a"), limit("a"), limit("b"));
    let words = [&here, &there, &other].map(|policy| gate.word(policy, &from("192.0.2.1")));
    assert_eq!(words, ["ok", "rate-limited", "ok"]);
}
