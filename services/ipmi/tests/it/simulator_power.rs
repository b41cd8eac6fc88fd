//! Power, boot device and accounts against `ipmi_sim`, with `ipmitool` beside.

use ipmi::boot::{BootDevice, BootOverride};
use ipmi::chassis::{Identify, PowerAction};
use ipmi::{AuthFailure, CipherSuite, Error, PrivilegeLevel, Session, Target};

use super::simulator::{Simulator, USER};
use super::{limited, quick};

async fn open(simulator: &Simulator) -> Session {
    limited(Session::open(&simulator.target(), quick())).await.unwrap()
}

#[tokio::test]
async fn a_refused_suite_17_leads_to_suite_3() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    assert_eq!(session.cipher_suite(), CipherSuite::Three);
    session.close().await.unwrap();
    let cipher_suites = vec![CipherSuite::Seventeen];
    let only = Target { cipher_suites, ..simulator.target() };
    let error = limited(Session::open(&only, quick())).await.expect_err("ipmi_sim has no suite 17");
    assert!(matches!(error, Error::NoCipherSuite { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_told() {
    let simulator = Simulator::start().await;
    open(&simulator).await.close().await.unwrap();
    let wrong = Target::new(simulator.address, USER, "not-this-one");
    let error = limited(Session::open(&wrong, quick())).await.expect_err("wrong password");
    assert!(matches!(error, Error::Auth { reason: AuthFailure::WrongPassword, .. }), "{error}");
    let nobody = Target::new(simulator.address, "nobody", "not-this-one");
    let error = limited(Session::open(&nobody, quick())).await.expect_err("unknown user");
    assert!(matches!(error, Error::Auth { reason: AuthFailure::UnknownUser, .. }), "{error}");
}

#[tokio::test]
async fn a_user_may_look_and_not_switch() {
    let simulator = Simulator::start().await;
    // The simulator would grant any level that is asked for, whatever the account's limit.
    let user = Target { privilege: PrivilegeLevel::User, ..simulator.reader() };
    let session = limited(Session::open(&user, quick())).await.unwrap();
    assert!(!limited(session.chassis_status()).await.unwrap().power_on);
    let error = limited(session.chassis_control(PowerAction::On)).await.expect_err("not allowed");
    assert_eq!(error.completion(), Some(0xd4), "{error}");
    assert!(simulator.events().is_empty());
}

#[tokio::test]
async fn power_is_switched_and_ipmitool_sees_the_same() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    for (action, on) in [(PowerAction::On, true), (PowerAction::Off, false), (PowerAction::On, true)] {
        limited(session.chassis_control(action)).await.unwrap();
        assert_eq!(limited(session.chassis_status()).await.unwrap().power_on, on);
        let said = limited(simulator.ipmitool("chassis power status")).await;
        assert_eq!(said.trim(), if on { "Chassis Power is on" } else { "Chassis Power is off" });
    }
    simulator.events();
    limited(session.chassis_control(PowerAction::Reset)).await.unwrap();
    assert_eq!(simulator.events(), ["reset 1"]);
    limited(session.identify(Identify::Seconds(5))).await.unwrap();
    assert_eq!(simulator.events(), ["identify 5 0"]);
    limited(session.chassis_control(PowerAction::Soft)).await.unwrap();
    assert_eq!(simulator.events(), ["shutdown 1"]);
    limited(simulator.ipmitool("chassis power on")).await;
    assert!(limited(session.chassis_status()).await.unwrap().power_on);
    simulator.events();
    limited(session.chassis_control(PowerAction::Cycle)).await.unwrap();
    let cycled = async {
        let mut events = Vec::new();
        while events.len() < 2 {
            limited(session.chassis_status()).await.unwrap();
            events.extend(simulator.events());
        }
        events
    };
    assert_eq!(limited(cycled).await, ["power 0", "power 1"], "off and on once");
    let ours = session.device_id().await.unwrap();
    let theirs = limited(simulator.ipmitool("mc info")).await;
    let line = format!("Product ID                : {}", ours.product_id);
    assert!(theirs.contains(&line), "{line}\n{theirs}");
    session.close().await.unwrap();
}

#[tokio::test]
async fn the_boot_device_is_set_and_ipmitool_reads_it_back() {
    let simulator = Simulator::start().await;
    let session = open(&simulator).await;
    let cases = [(BootDevice::Pxe, "Force PXE"), (BootDevice::Bios, "Force Boot into BIOS Setup")];
    for (device, words) in cases {
        let boot = BootOverride { device, persistent: false, efi: false };
        limited(session.set_boot_device(boot)).await.unwrap();
        let ours = limited(session.boot_device()).await.unwrap();
        assert_eq!(ours.boot.device, device);
        let theirs = limited(simulator.ipmitool("chassis bootparam get 5")).await;
        assert!(theirs.contains(words), "{theirs}");
    }
    assert!(simulator.events().contains(&"boot pxe".to_owned()));
}
