//! What nodes ask through the gateway: their nonce, and a token for it or for their TPM's word.

use std::net::IpAddr;
use std::sync::LazyLock;

use aws_lc_rs::rand;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{MacAddr, Xname};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;
use web::{Caller, Json, Path};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Join, now};
use crate::config::Policy;
use crate::error::Error;
use crate::model::{Challenge, Kind, Refusal, Secret};
use crate::token::Token;
use crate::wire::{cpio, tpm};

static NONCES: LazyLock<Counter> = LazyLock::new(|| web::counter("join_nonces", "Nonces handed out"));
static TOKENS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("join_tokens", "Tokens given to nodes that asked"));
/// Machines that were given nothing.
pub(super) static REFUSALS: LazyLock<Counter> =
    LazyLock::new(|| web::counter("join_refusals", "Machines that were given neither nonce nor token"));

/// Nobody keeps what is given here.
const NO_STORE: (header::HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// A secret of fresh random bytes.
fn draw() -> Result<Zeroizing<Secret>, Error> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(&mut *secret).map_err(|_| Error::Random)?;
    Ok(secret)
}

/// `GET /join/<mac>.cpio`: the second initrd, with a nonce in it, for the machine that holds the NIC's lease.
pub(super) async fn show_nonce(
    State(join): State<Join>,
    caller: Caller,
    Path(file): Path<String>,
) -> Result<Response, Error> {
    let bad = Error::Bad("ask for /join/<mac>.cpio, as the boot script says");
    let mac = file.strip_suffix(".cpio").and_then(|it| MacAddr::parse_bare(it).ok()).ok_or(bad)?;
    let given = join.give_nonce(mac, caller.address).await;
    let nonce = given.inspect_err(|error| join.tell_refusal(&mac, caller.address, error))?;
    NONCES.inc();
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(([kind, NO_STORE], cpio::archive(hex::encode(*nonce).as_bytes())).into_response())
}

/// A nonce's trade: whose it is, by xname or MAC, and the nonce.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Trade {
    #[zeroize(skip)]
    xname: Option<Xname>,
    #[zeroize(skip)]
    mac: Option<MacAddr>,
    nonce: String,
}

/// `POST /join/token`: a token for a nonce, once.
pub(super) async fn trade_nonce(
    State(join): State<Join>,
    caller: Caller,
    Json(trade): Json<Trade>,
) -> Result<Response, Error> {
    let node = join.who(trade.xname.clone(), trade.mac)?;
    let traded = join.trade(&node, &trade.nonce, caller.address).await;
    let (token, address) = traded.inspect_err(|error| join.tell_refusal(&node, caller.address, error))?;
    TOKENS.inc();
    join.tell(&node, address, "for its nonce");
    Ok(answer(&token))
}

fn answer(token: &Token) -> Response {
    ([NO_STORE], Json(token)).into_response()
}

impl Join {
    /// Who asks, by its own word.
    fn who(&self, xname: Option<Xname>, mac: Option<MacAddr>) -> Result<Xname, Error> {
        match (xname, mac) {
            (Some(node), None) => self.find(node.as_str()),
            (None, Some(mac)) => self.node_of(mac),
            _ => Err(Error::Bad("say who asks: `xname`, or `mac`")),
        }
    }

    async fn give_nonce(&self, mac: MacAddr, address: Option<IpAddr>) -> Result<Zeroizing<Secret>, Error> {
        let node = self.node_of(mac)?;
        let policy = self.policy_of(&node);
        if policy != Policy::Nonce {
            return Err(Error::Policy(node, policy));
        }
        let lease = match address {
            Some(address) => self.find_lease(address).await?,
            None => None,
        };
        lease.filter(|it| it.mac == mac).ok_or(Error::NoLease(mac))?;
        let nonce = draw()?;
        self.kept.change_if(|it| it.windows.hand_out(&node, mac, &nonce, now()), Result::is_ok).await??;
        Ok(nonce)
    }

    async fn trade(
        &self,
        node: &Xname,
        nonce: &str,
        address: Option<IpAddr>,
    ) -> Result<(Token, IpAddr), Error> {
        let policy = self.policy_of(node);
        if policy != Policy::Nonce {
            return Err(Error::Policy(node.clone(), policy));
        }
        let address = self.check_address(node, address).await?;
        let nonce = Zeroizing::new(hex::decode(nonce.trim()).unwrap_or_default());
        let changes = |it: &Result<_, Refusal>| matches!(it, Ok(_) | Err(Refusal::Contested(..)));
        let claimed =
            self.kept.change_if(|it| it.windows.claim(node, &nonce, address, now()), changes).await?;
        if let Err(Refusal::Contested(_, both)) = &claimed {
            self.raise_contested(node, both);
            self.end_tokens(node).await;
        }
        let claim = claimed?;
        // Whoever else passes for this node shows up by now, or gets nothing later.
        tokio::time::sleep(self.config.hold.0).await;
        // Before the window is spent: who claims it after that ends a token that there is.
        let token = self.make_token(node).await?;
        self.kept.change(|it| it.windows.settle(node, &claim)).await??;
        Ok((token, address))
    }
}

/// A TPM's keys, as tpm2-tools write them, in base64.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    xname: Option<Xname>,
    mac: Option<MacAddr>,
    /// The endorsement key's TPM2B_PUBLIC.
    ek_pub: String,
    /// The TPM2B_PUBLIC of a key that the TPM holds just now.
    ak_pub: String,
}

/// What was hidden.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Opened {
    #[zeroize(skip)]
    challenge: Uuid,
    /// In base64.
    secret: String,
}

/// `POST /join/tpm/challenge`: a secret that only the TPM with the enrolled key can open.
pub(super) async fn ask_tpm(
    State(join): State<Join>,
    caller: Caller,
    Json(keys): Json<Keys>,
) -> Result<Response, Error> {
    let node = join.who(keys.xname.clone(), keys.mac)?;
    let asked = join.challenge(&node, &keys, caller.address).await;
    let (id, credential) = asked.inspect_err(|error| join.tell_refusal(&node, caller.address, error))?;
    let body = json!({"challenge": id, "credential": STANDARD.encode(credential)});
    Ok(([NO_STORE], Json(body)).into_response())
}

/// `POST /join/tpm/answer`: a token for what was hidden.
pub(super) async fn take_answer(
    State(join): State<Join>,
    caller: Caller,
    Json(opened): Json<Opened>,
) -> Result<Response, Error> {
    let secret = Zeroizing::new(STANDARD.decode(opened.secret.trim()).unwrap_or_default());
    let address = caller.address.ok_or(Error::WrongAnswer)?;
    let taken = join.challenges().answer(opened.challenge, &secret, address, now());
    let Some(challenge) = taken else {
        join.tell_refusal(&"a node", caller.address, &Error::WrongAnswer);
        return Err(Error::WrongAnswer);
    };
    let node = &challenge.node;
    if let Some(key) = challenge.first_use {
        join.enrol_first(node, key, address).await?;
    }
    let token = join.make_token(node).await?;
    TOKENS.inc();
    join.tell(node, address, "for its TPM's answer");
    Ok(answer(&token))
}

impl Join {
    async fn challenge(
        &self,
        node: &Xname,
        keys: &Keys,
        address: Option<IpAddr>,
    ) -> Result<(Uuid, Vec<u8>), Error> {
        let policy = self.policy_of(node);
        if policy != Policy::Tpm {
            return Err(Error::Policy(node.clone(), policy));
        }
        let address = self.check_address(node, address).await?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| Error::Bad("the keys are no base64"));
        let key = tpm::EndorsementKey::parse(&decode(&keys.ek_pub)?)?;
        let name = tpm::name_of(&decode(&keys.ak_pub)?)?;
        let fingerprint = key.fingerprint()?;
        let enrolled = self.held.read(|it| it.find(node, Kind::Ek).map(|it| it.value.clone()));
        let first_use = match enrolled {
            Some(enrolled) if enrolled == fingerprint => None,
            Some(_) => return Err(Error::OtherKey(node.clone())),
            None if !self.config.trust_first_use => return Err(Error::NotEnrolled(node.clone())),
            None if self.kept.read(|it| it.windows.is_open(node, now())) => Some(fingerprint),
            None => return Err(Refusal::Closed(node.clone()).into()),
        };
        let (id, secret) = (Uuid::new_v4(), draw()?);
        let credential = key.make_credential(&*secret, &name)?;
        let challenge = Challenge { node: node.clone(), address, first_use };
        if !self.challenges().open(id, challenge, &secret, now()) {
            return Err(Error::Busy);
        }
        Ok((id, credential))
    }

    /// Takes a key on first use; the window that allowed it is spent.
    async fn enrol_first(&self, node: &Xname, key: String, address: IpAddr) -> Result<(), Error> {
        // Two may have asked at once: the second one finds the first one's key.
        if self.held.read(|it| it.find(node, Kind::Ek).is_some_and(|it| it.value != key)) {
            return Err(Error::OtherKey(node.clone()));
        }
        self.keep_enrolment(node, Kind::Ek, key, true).await?;
        self.kept.change(|it| it.windows.spend(node, address, now())).await?;
        daemon::event!(
            domain::event::JOIN_ENROLLED,
            node = node,
            "the TPM of {node} at {address} was enrolled on first use"
        );
        Ok(())
    }
}
