#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use domain::{MacAddr, NODES_MAX, Xname};

use super::{NONCES_MAX, REMEMBERED_S, Refusal, Secret, Windows};

/// The count for each kind of attack.
const TRIES: u16 = 1000;
const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
const NODE: [u8; 4] = [172, 16, 0, 1];

fn node() -> Xname {
    "x1000c1s7b1n0".parse().unwrap()
}

fn at(octets: [u8; 4]) -> IpAddr {
    octets.into()
}

fn secret(number: u16) -> Secret {
    let mut secret = [0; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    secret
}

/// A window from 0 to 100 whose boot script was served.
fn armed() -> Windows {
    let mut windows = Windows::default();
    windows.open(&node(), 0, 100).unwrap();
    windows.arm(&node(), MAC, 0).unwrap();
    windows
}

/// The same once the node has its token, by nonce 0.
fn spent() -> Windows {
    let mut windows = armed();
    windows.hand_out(&node(), MAC, &secret(0), 1).unwrap();
    let claim = windows.claim(&node(), &secret(0), at(NODE), 2).unwrap();
    windows.settle(&node(), &claim).unwrap();
    windows
}

#[test]
fn a_node_trades_its_nonce_once() {
    let mut windows = spent();
    assert_eq!(windows.hand_out(&node(), MAC, &secret(1), 3), Err(Refusal::Spent(node())));
    assert_eq!(windows.arm(&node(), MAC, 3), Err(Refusal::Spent(node())));
    windows.open(&node(), 4, 100).unwrap();
    assert!(windows.is_open(&node(), 4));
    assert_eq!(windows.claim(&node(), &secret(0), at(NODE), 5), Err(Refusal::NoNonce(node())), "the old one");
}

#[test]
fn a_replay_voids_what_it_cannot_have() {
    for number in 0..TRIES {
        let mut windows = spent();
        let replay = windows.claim(&node(), &secret(0), at([172, 16, 0, 9]), 3 + i64::from(number));
        let Err(Refusal::Contested(_, both)) = replay else { panic!("{replay:?}") };
        assert_eq!((both.0.address, both.1.address), (at(NODE), at([172, 16, 0, 9])));
        for _ in 0..3 {
            let again = windows.claim(&node(), &secret(0), at(NODE), 4);
            assert_eq!(again, Err(Refusal::Void(node())));
        }
    }
}

#[test]
fn who_guesses_or_comes_late_gets_nothing_and_harms_nobody() {
    let mut windows = armed();
    windows.hand_out(&node(), MAC, &secret(0), 1).unwrap();
    for number in 1..=TRIES {
        let guess = windows.claim(&node(), &secret(number), at(NODE), 2);
        assert_eq!(guess, Err(Refusal::NoNonce(node())));
        let late = i64::from(number) + 99;
        assert_eq!(
            windows.claim(&node(), &secret(0), at(NODE), late),
            Err(Refusal::Closed(node())),
            "{late}"
        );
        assert_eq!(windows.hand_out(&node(), MAC, &secret(1), late), Err(Refusal::Closed(node())));
        assert_eq!(windows.arm(&node(), MAC, late), Err(Refusal::Closed(node())));
    }
    assert!(windows.claim(&node(), &secret(0), at(NODE), 99).is_ok());
}

#[test]
fn a_spoofer_within_the_window_voids_both() {
    for number in 1..=TRIES {
        let mut windows = armed();
        windows.hand_out(&node(), MAC, &secret(0), 1).unwrap();
        windows.hand_out(&node(), MAC, &secret(number), 1).unwrap();
        // Whoever comes first waits; the second one is refused, and then so is the first.
        let (first, second) = if number % 2 == 0 { (0, number) } else { (number, 0) };
        let claim = windows.claim(&node(), &secret(first), at(NODE), 2).unwrap();
        let contested = windows.claim(&node(), &secret(second), at(NODE), 2);
        assert!(matches!(contested, Err(Refusal::Contested(..))), "{contested:?}");
        assert_eq!(windows.settle(&node(), &claim), Err(Refusal::Void(node())));
        assert_eq!(windows.hand_out(&node(), MAC, &secret(3), 3), Err(Refusal::Void(node())));
    }
}

#[test]
fn a_spoofer_after_the_exchange_gets_no_nonce() {
    let mut windows = spent();
    for number in 1..=TRIES {
        let fetched = windows.hand_out(&node(), MAC, &secret(number), 3);
        assert_eq!(fetched, Err(Refusal::Spent(node())));
        let claimed = windows.claim(&node(), &secret(number), at(NODE), 3);
        assert_eq!(claimed, Err(Refusal::NoNonce(node())));
    }
}

#[test]
fn only_the_nic_of_the_script_fetches_and_not_for_ever() {
    let mut windows = armed();
    let other = MacAddr::new([2, 0, 0, 0, 0, 2]);
    assert_eq!(windows.hand_out(&node(), other, &secret(0), 1), Err(Refusal::NotArmed(node())));
    for number in 0..NONCES_MAX {
        windows.hand_out(&node(), MAC, &secret(u16::try_from(number).unwrap()), 1).unwrap();
    }
    assert_eq!(windows.hand_out(&node(), MAC, &secret(99), 1), Err(Refusal::TooMany(node())));
    let other: Xname = "x0c0s0b0n0".parse().unwrap();
    assert_eq!(windows.arm(&other, MAC, 1), Err(Refusal::Closed(other.clone())));
}

#[test]
fn windows_are_bounded_and_forgotten() {
    let mut windows = Windows::default();
    let name =
        |number: usize| format!("x{}c0s0b0n{}", number / 1000, number % 1000).parse::<Xname>().unwrap();
    for number in 0..NODES_MAX {
        windows.open(&name(number), 0, 100).unwrap();
    }
    let one_more: Xname = "x9999c7s7b0n0".parse().unwrap();
    assert_eq!(windows.open(&one_more, 50, 100), Err(Refusal::Full));
    windows.open(&one_more, 100, 100).unwrap();
    assert_eq!(windows.list(100).count(), 1);
    assert!(!windows.prune(200 + REMEMBERED_S - 1) && windows.prune(200 + REMEMBERED_S));
}

#[test]
fn what_was_kept_is_what_comes_back() {
    let windows = spent();
    let text = serde_json::to_string(&windows).unwrap();
    assert!(!text.contains(&hex::encode(secret(0))), "only the digest is kept: {text}");
    assert_eq!(serde_json::from_str::<Windows>(&text).unwrap(), windows);
}
