//! The first keys of an issuer: as soon as one process lets a token in, all do.

use crate::harness::provider::Door;
use crate::harness::{Provider, Signer, Site, await_true};

#[test]
fn keys_that_one_process_has_are_used_by_all() {
    let (provider, signer) = (Provider::http(), Signer::ec("ES256", "one"));
    provider.publish(&[&signer]);
    provider.door(Door::Closed);
    let mut server = Site::new().children(4).start(&format!(
        r#"JwtGateIssuer main {} audience=api
        ProxyPass / ${{APP}}/
        <Location "/">
            JwtGate on
        </Location>"#,
        provider.issuer()
    ));
    server.expect_log("JG2201");
    server.expect_log("JG4002");
    server.await_log("JG4002");
    // Processes that began at the same time look for keys at the same time.
    for child in server.children().into_iter().take(2) {
        server.kill_child(child);
    }
    provider.door(Door::Open);
    let token = provider.token(&signer).sign();
    let status = || server.get("/").bearer(&token).status();
    await_true("the first keys", || status() == 200);
    let answers: Vec<u16> = (0..40).map(|_| status()).collect();
    assert_eq!(answers, [200; 40]);
}
