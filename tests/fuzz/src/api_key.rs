//! API keys: the file, and what is compiled of it.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use jwt_gate_core::apikey::format::{ApiKeyText, is_whole, looks_right};
use jwt_gate_core::apikey::{ApiKey, ApiKeyList, compile};
use jwt_gate_core::net::address::Cidr;
use jwt_gate_core::time::UnixMicros;
use serde_json::Value;

use super::assert_fit_for_log;
use super::token::{members_in, names_in};

/// A key that the corpus has compiled.
const COMPILED: &[u8] = b"an-API-key,-number-1";

/// Any bytes as a key, a compiled list and a file: what is opened is fit for use; what a file says is what is found,
/// as another reader of JSON reads it.
pub fn api_keys(data: &[u8]) {
    let open = |bytes: &[u8]| ApiKeyList::open(Arc::new(bytes.to_vec()));
    match open(data) {
        Ok(list) => {
            assert!(
                list.len() <= data.len() && list.plans().chain(list.network_names()).all(|name| !name.contains('\n'))
            );
            if let Some(key) = list.find(COMPILED) {
                assert_fit_for_use(&key);
            }
        }
        Err(error) => assert_fit_for_log(&error),
    }
    if let Ok(text) = str::from_utf8(data) {
        assert!(!is_whole(text) || looks_right(data));
    }
    let compiled = match compile(data) {
        Ok(compiled) => compiled,
        Err(error) => {
            assert_fit_for_log(&error);
            assert!(error.starts_with("line "));
            return;
        }
    };
    let document: Value = serde_json::from_slice(data).expect("JSON");
    assert_eq!(names_in(data), members_in(&document), "no member twice");
    let entries = document["keys"].as_array().expect("an array");
    assert!(document.as_object().is_some_and(|members| members.len() == 1) && entries.len() == compiled.entries);
    let different = |name: &str| {
        let texts = entries.iter().map(|entry| entry[name].as_str().expect("text").to_ascii_lowercase());
        texts.collect::<HashSet<_>>().len()
    };
    assert_eq!(different("sha256"), entries.len());

    let list = open(&compiled.bytes).expect("what was compiled");
    assert!(list.len() == entries.len() && list.is_empty() == entries.is_empty());
    assert!(list.plans().eq(&compiled.plans) && list.network_names().eq(&compiled.networks));
    assert_eq!(list.find(COMPILED), None, "nobody knows a key of these hashes");

    // The same entries with keys that are known.
    let mut known = document.clone();
    let mut expected = BTreeMap::new();
    for (number, entry) in known["keys"].as_array_mut().expect("an array").iter_mut().enumerate() {
        let mut random = [0; 32];
        random[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let key = ApiKeyText::new(random);
        entry["sha256"] = key.sha256().into();
        expected.insert(key.as_str().to_owned(), entry.clone());
    }
    let known = compile(known.to_string().as_bytes()).expect("as good as with the other hashes");
    let list = open(&known.bytes).expect("what was compiled");
    for (key, entry) in expected {
        let key = list.find(key.as_bytes()).expect("a key of the file");
        assert_fit_for_use(&key);
        let texts = |name: &str| entry[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        let time = |name: &str| entry[name].as_str().map(|text| UnixMicros::from_rfc3339(text).expect("a time"));
        assert_eq!((key.id(), key.plan()), (entry["id"].as_str().expect("an id"), entry["plan"].as_str()));
        assert!(key.scopes().eq(texts("scopes")) && key.networks().count() == texts("networks").count());
        assert_eq!((key.not_before(), key.expires()), (time("not_before").unwrap_or_default(), time("expires")));
        assert!(key.plan().is_none_or(|plan| compiled.plans.contains(plan)));
    }
}

fn assert_fit_for_use(key: &ApiKey) {
    assert!((1..=128).contains(&key.id().len()) && key.id().bytes().all(|b| b.is_ascii_graphic() && b != b'"'));
    assert!(key.scope().bytes().all(|b| matches!(b, b' '..=b'~')) && key.scopes().all(|scope| !scope.is_empty()));
    let block = |network: &str| network.parse::<Cidr>().ok();
    assert!(key.networks().all(|network| network.starts_with('@') || block(network).is_some()));

    let client = key.networks().find_map(block).map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), Cidr::network);
    let check = |now: UnixMicros| key.check(now, client, |_| true).is_ok();
    let expires = key.expires().unwrap_or(UnixMicros(u64::MAX));
    assert_eq!(check(key.not_before()), key.not_before() < expires || key.expires().is_none());
    assert_eq!(check(expires), key.expires().is_none());
    assert!(key.not_before().0 == 0 || !check(UnixMicros(key.not_before().0 - 1)));
    let stranger = key.check(key.not_before(), IpAddr::V4(Ipv4Addr::BROADCAST), |_| false);
    let admits = |network: &str| block(network).is_some_and(|block| block.contains(IpAddr::V4(Ipv4Addr::BROADCAST)));
    assert!(stranger.is_err() || key.networks().next().is_none() || key.networks().any(admits));
}
