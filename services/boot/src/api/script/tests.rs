#![expect(clippy::unwrap_used, reason = "tests")]

use axum::http::HeaderMap;
use domain::{Document, Scopes};
use web::{Caller, TokenError};

use super::{Config, origin};

fn at(table: &str, uid: u32, headers: &[(&'static str, &'static str)]) -> (String, String) {
    let plane = "[[network.planes]]\nname = \"n\"\nkind = \"nodes\"\naddresses = [\"172.16.0.254/24\"]\n";
    let head = format!("version = 1\n[cluster]\nname = \"d\"\ndomain = \"e\"\n{plane}{table}");
    let config = Config::parse(&Document::parse(&head).unwrap()).unwrap();
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let caller = Caller {
        subject: String::new(),
        scopes: Scopes::new(),
        address: "172.16.0.1".parse().ok(),
        uid: Some(uid),
        node: None,
        token: Err(TokenError::Missing),
    };
    let origin = origin(&config, &caller, &headers);
    (origin.base.into_owned(), origin.cloud_init.into_owned())
}

#[test]
fn the_way_back_is_the_way_it_came() {
    let gateway = domain::Service::Gateway.uid();
    let plain = "http://172.16.0.254:8081".to_owned();
    let plain_ci = "http://172.16.0.254:8081/cloud-init/".to_owned();
    assert_eq!(at("", 1000, &[]), (plain.clone(), plain_ci.clone()));
    assert_eq!(at("", 1000, &[("host", "localhost")]), (plain.clone(), plain_ci.clone()));
    assert_eq!(at("", 1000, &[("host", "a b")]).0, plain);
    let headers = [("host", "demo.example:8443"), ("x-forwarded-proto", "https")];
    assert_eq!(at("", gateway, &headers), ("https://demo.example:8443".to_owned(), plain_ci.clone()));
    assert_eq!(at("", 1000, &headers).0, "http://demo.example:8443");
    let (base, cloud_init) = at("[boot]\nadvertise_url = \"https://demo.example\"", gateway, &headers);
    assert_eq!((base.as_str(), cloud_init.as_str()), ("https://demo.example", "demo.example/"));
    let both = "[boot]\nadvertise_url = \"https://demo.example\"\ncloud_init_url = \"http://h/cloud-init\"";
    assert_eq!(at(both, gateway, &headers).1, "http://h/cloud-init/");
}

#[test]
fn only_the_gateway_says_what_its_client_asked_for() {
    let gateway = domain::Service::Gateway.uid();
    let headers = [("host", "boot.sock"), ("x-forwarded-host", "demo.example")];
    assert_eq!(at("", gateway, &headers).0, "http://demo.example");
    assert_eq!(at("", 1000, &headers).0, "http://boot.sock");
    let bad = [("host", "boot.sock"), ("x-forwarded-host", "a${b}")];
    assert_eq!(at("", gateway, &bad).0, "http://boot.sock");
}
