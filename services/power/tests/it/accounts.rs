//! Which account is used, and when it is read again.

use power::client::rotate_password;
use tests::redfish::{Quirk, Redfish, USER};
use web::Client;

use super::head::{Head, endpoint, node, redfish};
use super::simulator::{PASSWORD, Simulator};

#[tokio::test]
async fn a_refused_account_is_read_again() {
    let bmc = Simulator::start();
    let head = Head::start(node(1, bmc.port), "").await;
    head.set_account(1, "swordfish");
    let reason = head.refused("nid001", Some("on")).await;
    assert!(reason.contains("BMC x0c0s1b0") && reason.contains("check user name and password"), "{reason}");
    assert!(!reason.contains("swordfish"), "{reason}");
    assert_eq!(head.asked(1), 2, "read, refused, and read again");
    head.set_account(1, PASSWORD);
    assert_eq!(head.done("nid001", Some("on")).await, "on");
    assert_eq!(head.asked(1), 3);
    assert_eq!(head.done("nid001", None).await, "on");
    assert_eq!(head.asked(1), 3, "what works is kept");
}

#[tokio::test]
async fn an_account_that_changed_is_read_again() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    head.done("nid001", None).await;
    head.done("nid001", None).await;
    assert_eq!(head.asked(1), 1);
    head.tell(endpoint(1, bmc.port, 2)).await;
    head.done("nid001", None).await;
    assert_eq!(head.asked(1), 2);
}

#[tokio::test]
async fn a_new_password_is_tried_before_it_is_stored() {
    let bmc = Redfish::start(1, &[]).await.unwrap();
    let head = Head::with_accounts(redfish(1, bmc.address().port()), "", &[1]).await;
    let client = Client::unix(&head.socket);
    rotate_password(&client, "x0c0s1b0").await.unwrap();
    let (user, password) = head.account(1);
    assert_eq!((user.as_str(), password.as_str()), (USER, bmc.password().as_str()));
    assert!(password != PASSWORD && password.len() == 16, "{password}");
    assert_eq!(head.done("nid001", None).await, "off");
    assert_eq!(bmc.session_count(), 0);

    bmc.set_quirks(&[Quirk::RepeatsSecrets]);
    let refused = rotate_password(&client, "x0c0s1b0").await.unwrap_err().to_string();
    assert!(refused.contains("stays as it was") && refused.contains("x0c0s1b0"), "{refused}");
    assert_eq!((bmc.password(), head.account(1).1), (password.clone(), password.clone()));

    bmc.set_quirks(&[]);
    head.refuse_writes();
    let refused = rotate_password(&client, "x0c0s1b0").await.unwrap_err().to_string();
    assert!(refused.contains("the old one was set again"), "{refused}");
    assert_eq!(bmc.password(), password);
    assert!(!refused.contains(&password));
}

#[tokio::test]
async fn a_new_password_is_set_over_ipmi_too() {
    let bmc = Simulator::start();
    let head = Head::with_accounts(node(1, bmc.port), "", &[1]).await;
    rotate_password(&Client::unix(&head.socket), "x0c0s1b0").await.unwrap();
    let password = head.account(1).1;
    assert!(password != PASSWORD && password.len() == 16);
    assert_eq!(head.done("nid001", None).await, "off");
}
