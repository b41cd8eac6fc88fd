//! Forged tokens, each by its name: none is taken, by the verifier that every service has and by a real route.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::Role;
use serde_json::{Value, json};
use sqlx::PgPool;
use time::OffsetDateTime;
use web::{Trust, TrustedIssuer};

use crate::head::{PASSWORD, Running, through_gateway};
use crate::signer::{Signer, encode, hs256};

const ISSUER: &str = "https://demo.openchami.cluster:8443";
const HEADER: &str = r#"{"typ":"at+jwt","alg":"ES256","kid":"ec"}"#;

type Forged = BTreeMap<String, String>;

/// What a good token says.
fn claims() -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let scope: Vec<String> = Role::Admin.scopes().iter().map(ToString::to_string).collect();
    json!({"iss": ISSUER, "sub": "root", "aud": ["pilothouse"], "iat": now, "nbf": now, "exp": now + 600,
        "jti": "3b241101-e2bb-4255-8caf-4136c566a962", "scope": scope.join(" ")})
}

fn good(signer: &Signer) -> String {
    signer.token(HEADER, &claims().to_string())
}

/// Other algorithms, and none.
fn algorithms(signer: &Signer, add: &mut impl FnMut(&str, String)) {
    let body = encode(claims().to_string());
    let message = |header: Value| format!("{}.{body}", encode(header.to_string()));
    for none in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
        let message = message(json!({"typ": "at+jwt", "alg": none, "kid": "ec"}));
        add(&format!("alg {none:?} without signature"), format!("{message}."));
        let signature = encode(signer.es256(&message));
        add(&format!("alg {none:?} with a good signature"), format!("{message}.{signature}"));
    }
    for (name, alg) in [("null", Value::Null), ("a number", 1.into()), ("a list", json!(["ES256"]))] {
        let message = message(json!({"typ": "at+jwt", "alg": alg, "kid": "ec"}));
        add(&format!("alg is {name}"), format!("{message}.{}", encode(signer.es256(&message))));
    }
    let no_alg = message(json!({"typ": "at+jwt", "kid": "ec"}));
    add("no alg", format!("{no_alg}.{}", encode(signer.es256(&no_alg))));
    // The public key as a secret, in every form that somebody might have it in.
    let forms = [
        ("the point", signer.point()),
        ("the modulus", signer.modulus()),
        ("the JWK", signer.ec_jwk().to_string().into_bytes()),
        ("the RSA JWK", signer.rsa_jwk().to_string().into_bytes()),
        ("nothing", Vec::new()),
    ];
    for (name, secret) in forms {
        for kid in ["ec", "rsa"] {
            let message = message(json!({"typ": "at+jwt", "alg": "HS256", "kid": kid}));
            add(
                &format!("HS256 of {kid} by {name}"),
                format!("{message}.{}", encode(hs256(&secret, &message))),
            );
        }
    }
    for (alg, kid, signature) in [
        ("RS256", "ec", Signer::es256 as fn(&Signer, &str) -> Vec<u8>),
        ("RS256", "ec", Signer::rs256),
        ("ES256", "rsa", Signer::rs256),
        ("ES256", "rsa", Signer::es256),
        ("PS256", "rsa", Signer::ps256),
        ("RS256", "rsa", Signer::ps256),
        ("RS384", "rsa", Signer::rs256),
        ("RS512", "rsa", Signer::rs256),
        ("ES384", "ec", Signer::es256),
        ("ES512", "ec", Signer::es256),
        ("EdDSA", "ec", Signer::es256),
        ("es256", "ec", Signer::es256),
    ] {
        let message = message(json!({"typ": "at+jwt", "alg": alg, "kid": kid}));
        let token = format!("{message}.{}", encode(signature(signer, &message)));
        add(&format!("{alg} with the key {kid}, {}", token.len()), token);
    }
}

/// Names of keys, and keys brought along.
fn headers(signer: &Signer, stranger: &Signer, add: &mut impl FnMut(&str, String)) {
    let body = claims().to_string();
    let long = "k".repeat(1000);
    for (name, kid) in [
        ("a path", json!("../../../../etc/passwd")),
        ("/dev/null", json!("/dev/null")),
        ("SQL", json!("ec' or '1'='1")),
        ("a union", json!("x' union select 'key")),
        ("a command", json!("ec;id|sh")),
        ("empty", json!("")),
        ("null", Value::Null),
        ("a number", json!(1)),
        ("a list", json!(["ec"])),
        ("an object", json!({"kid": "ec"})),
        ("with a NUL", json!("ec\u{0}")),
        ("in capitals", json!("EC")),
        ("with a blank", json!("ec ")),
        ("long", json!(long)),
        ("of nobody", json!("other")),
    ] {
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid}).to_string();
        add(&format!("kid {name}"), signer.token(&header, &body));
    }
    add("no kid", signer.token(r#"{"typ":"at+jwt","alg":"ES256"}"#, &body));
    let own = stranger.ec_jwk();
    for (name, member) in [
        ("jwk", own.clone()),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("cty", json!("JWT")),
    ] {
        for (whose, key) in [("our", signer), ("a stranger's", stranger)] {
            let mut header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "ec"});
            header[name] = member.clone();
            add(&format!("{name}, signed by {whose} key"), key.token(&header.to_string(), &body));
        }
    }
    add("a stranger's key of the same name", stranger.token(HEADER, &body));
    for (name, header) in [
        ("alg twice", r#"{"typ":"at+jwt","alg":"none","kid":"ec","alg":"ES256"}"#),
        ("kid twice", r#"{"typ":"at+jwt","alg":"ES256","kid":"x","kid":"ec"}"#),
        ("typ JWT", r#"{"typ":"JWT","alg":"ES256","kid":"ec"}"#),
        ("typ refresh", r#"{"typ":"refresh+jwt","alg":"ES256","kid":"ec"}"#),
        ("no typ", r#"{"alg":"ES256","kid":"ec"}"#),
        ("a header that is a list", r#"["ES256"]"#),
        ("a header that is no JSON", "ES256"),
        ("two headers", r#"{"typ":"at+jwt","alg":"ES256","kid":"ec"}{}"#),
    ] {
        add(name, signer.token(header, &body));
    }
}

/// Claims that are missing, of another kind, or of another value.
fn wrong_claims(signer: &Signer, add: &mut impl FnMut(&str, String)) {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut with = |name: &str, value: Value| {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().map(|it| it.remove(name))),
            ref value => claims[name] = value.clone(),
        }
        add(&format!("{name} is {value}"), signer.token(HEADER, &claims.to_string()));
    };
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "scope"] {
        with(name, Value::Null);
        with(name, json!(""));
        with(name, json!(true));
        with(name, json!({"is": ISSUER}));
    }
    for value in [
        json!([ISSUER]),
        json!("https://evil.example"),
        json!(format!("{ISSUER}/")),
        json!(ISSUER.to_uppercase()),
    ] {
        with("iss", value);
    }
    for value in [
        json!([]),
        json!("pilothous"),
        json!(["smd"]),
        json!([["pilothouse"]]),
        json!(["pilothouse", 1]),
        json!("pilothouse smd"),
    ] {
        with("aud", value);
    }
    for value in [
        json!(now - 60),
        json!(0),
        json!(-1),
        json!(now as f64 + 600.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MAX),
        json!((now + 600).to_string()),
        json!([now + 600]),
        json!(now + 10 * 365 * 86_400),
    ] {
        with("exp", value);
    }
    for value in [json!(now + 600), json!("0"), json!(1e300), json!(-5), json!([0])] {
        with("nbf", value);
    }
    for value in [json!(now + 600), json!(now - 3 * 86_400), json!(0.5)] {
        with("iat", value);
    }
    with("sub", json!("x".repeat(300)));
    with("sub", json!(["root"]));
    with("scope", json!(["inventory:write"]));
    with("scope", json!("node"));
    with("xname", json!("x1000c1s7b1n0"));
    let model = claims();
    let (twice, exp) = (model.to_string(), format!("\"exp\":{}", model["exp"]));
    for (name, first) in [("exp", json!(1)), ("sub", json!("guest")), ("aud", json!("other"))] {
        let text = twice.replacen('{', &format!("{{\"{name}\":{first},"), 1);
        add(&format!("{name} twice"), signer.token(HEADER, &text));
    }
    for (name, text) in [
        ("exp too large for a number", twice.replacen(&exp, "\"exp\":1e999", 1)),
        ("claims that are a list", "[]".to_owned()),
        ("claims that are null", "null".to_owned()),
        ("claims with something behind", format!("{twice} {{}}")),
        ("claims that are no UTF-8", String::from("\u{fffd}")),
    ] {
        add(name, signer.token(HEADER, &text));
    }
}

/// The text itself.
fn texts(signer: &Signer, add: &mut impl FnMut(&str, String)) {
    let token = good(signer);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, body, signature] = parts[..] else { panic!("{token}") };
    let message = format!("{header}.{body}");
    let bytes = signer.es256(&message);
    let sign = |bytes: &[u8]| format!("{message}.{}", encode(bytes));
    add("no signature", format!("{message}."));
    add("no last dot", message.clone());
    add("one dot more", format!("{token}."));
    add("one dot before", format!(".{token}"));
    add("a part more", format!("{token}.{signature}"));
    add("two tokens", format!("{token}.{token}"));
    add("dots alone", "..".to_owned());
    add("the parts in another order", format!("{body}.{header}.{signature}"));
    add("a signature cut short", sign(&bytes[..63]));
    add("a signature of one byte more", sign(&[&bytes[..], &[0]].concat()));
    add("a signature twice", sign(&[&bytes[..], &bytes[..]].concat()));
    add("r and s are zero", sign(&[0; 64]));
    add("r is zero", sign(&[&[0; 32], &bytes[32..]].concat()));
    add("s is zero", sign(&[&bytes[..32], &[0; 32]].concat()));
    add("r and s are the largest", sign(&[0xff; 64]));
    add("a signature in DER", sign(&signer.es256_der(&message)));
    add("a signature of other claims", format!("{message}.{}", encode(signer.es256("other"))));
    let mut flipped = bytes.clone();
    flipped[10] ^= 1;
    add("a bit of the signature is another", sign(&flipped));
    let mut other = claims();
    other["sub"] = "admin".into();
    add("other claims under the signature", format!("{header}.{}.{signature}", encode(other.to_string())));
    add("padded with =", format!("{token}=="));
    add("padding in the header", format!("{header}=.{body}.{signature}"));
    // The last letter of 64 bytes has four bits that count for nothing.
    let last = signature.chars().last().unwrap();
    let next = char::from(u8::try_from(last).unwrap() + 1);
    add("bits that count for nothing", format!("{}{next}", &token[..token.len() - 1]));
    add("the other alphabet", format!("{message}.{}", signature.replace('-', "+").replace('_', "/") + "+"));
    add("a line feed inside", format!("{message}.\n{signature}"));
    add("a blank inside", format!("{message} .{signature}"));
    add("a NUL at the end", format!("{token}\0"));
    add("a token in a token", signer.token(HEADER, &format!("\"{token}\"")));
    add("JSON form", json!({"protected": header, "payload": body, "signature": signature}).to_string());
    let mut large = claims();
    large["padding"] = "x".repeat(5000).into();
    add("longer than 4 KiB", signer.token(HEADER, &large.to_string()));
    add("very long", "a".repeat(60_000));
}

/// Everything, by name.
fn all(signer: &Signer, stranger: &Signer) -> Forged {
    let mut forged = Forged::new();
    let mut add = |name: &str, token: String| {
        assert!(forged.insert(name.to_owned(), token).is_none(), "{name} is there twice");
    };
    algorithms(signer, &mut add);
    headers(signer, stranger, &mut add);
    wrong_claims(signer, &mut add);
    texts(signer, &mut add);
    forged
}

#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn no_forged_token_is_taken(db: PgPool) {
    let (auth, signer, stranger) = (Running::start(db).await, Signer::new(), Signer::new());
    // The head's own keys, as it were, so that only what is forged can be why it is refused.
    auth.verifier.set(&Trust { keys: signer.jwks(), ..Trust::default() });
    let get = async |token: &str| {
        let request = Request::get("/pilothouse/v1/clients").header("x-forwarded-for", "10.0.0.9");
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty());
        match request {
            Ok(request) => auth.send(through_gateway(), request).await.0,
            // No client could send it.
            Err(_) => StatusCode::UNAUTHORIZED,
        }
    };
    assert_eq!(get(&good(&signer)).await, StatusCode::OK, "the model itself is good");
    let mut count = 0;
    for (name, token) in all(&signer, &stranger) {
        assert!(auth.verifier.verify(&token).is_err(), "{name} was taken");
        // A blank at either end is no part of a header's value.
        if token.trim() == token {
            assert_eq!(get(&token).await, StatusCode::UNAUTHORIZED, "{name} was taken by a route");
        }
        count += 1;
    }
    println!("{count} forged tokens were refused");
    assert!(count >= 60);
    assert_eq!(get(&good(&signer)).await, StatusCode::OK);
}

/// What we give for other purposes is no access token.
#[sqlx::test(migrator = "auth::MIGRATIONS")]
async fn other_tokens_of_ours_open_nothing(db: PgPool) {
    let auth = Running::start(db).await;
    auth.new_user("alice", "admin").await;
    let answer = crate::people::log_in(&auth, "alice", "openid pilothouse").await;
    for name in ["id_token", "refresh_token"] {
        let token = answer[name].as_str().unwrap();
        assert!(auth.verifier.verify(token).is_err(), "{name}");
    }
    assert!(auth.verifier.verify(answer["access_token"].as_str().unwrap()).is_ok());
    assert!(!answer.to_string().contains(PASSWORD));
}

/// Another issuer speaks for itself alone.
#[test]
fn a_trusted_issuer_is_not_us_and_gives_no_more_than_the_document_says() {
    let (own, other) = (Signer::new(), Signer::new());
    let document =
        domain::Document::parse("version = 1\n[cluster]\nname = \"demo\"\ndomain = \"openchami.cluster\"\n");
    let verifier = web::Verifier::new(&document.unwrap()).unwrap();
    let it = TrustedIssuer {
        issuer: "https://sso.site".to_owned(),
        audience: "hpc".to_owned(),
        role: None,
        claim: Some("realm.groups".to_owned()),
        roles: [("admins".to_owned(), Role::Admin), ("staff".to_owned(), Role::Viewer)].into(),
        keys: other.jwks(),
    };
    let posing = TrustedIssuer { issuer: ISSUER.to_owned(), audience: "pilothouse".to_owned(), ..it.clone() };
    verifier.set(&Trust { keys: own.jwks(), trusted: vec![posing, it], ..Trust::default() });
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let token = |more: Value| {
        let mut claims = json!({"iss": "https://sso.site", "sub": "bob", "aud": "hpc", "exp": now + 60});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        other.token(r#"{"alg":"ES256","kid":"ec"}"#, &claims.to_string())
    };
    let scopes = |groups: Value| verifier.verify(&token(groups)).map(|it| it.scopes());
    assert_eq!(scopes(json!({"realm": {"groups": ["staff", "x"]}})), Ok(Role::Viewer.scopes()));
    assert_eq!(scopes(json!({"realm": {"groups": ["staff", "admins"]}})), Ok(Role::Admin.scopes()));
    assert_eq!(scopes(json!({"realm.groups": "staff"})), Ok(Role::Viewer.scopes()));
    for groups in [json!({}), json!({"realm": {"groups": ["x"]}}), json!({"scope": "inventory:write"})] {
        assert!(scopes(groups).unwrap().is_empty());
    }
    // As it would look in our name, with its key.
    assert!(verifier.verify(&other.token(HEADER, &claims().to_string())).is_err());
    assert!(scopes(json!({"iss": ISSUER})).is_err() && scopes(json!({"aud": "pilothouse"})).is_err());
    assert!(verifier.verify(&own.token(HEADER, &claims().to_string())).is_ok());
}
