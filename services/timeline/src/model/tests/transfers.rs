//! Transfers that take their time, loaders that are none, offers that are not made.

use super::{FIRMWARE, IPXE, Lab, SCRIPT, SYSTEM};
use crate::model::boot::{Kind, Outcome};
use crate::model::cause::Cause;

#[test]
fn an_initrd_that_begins_and_never_ends_is_named_as_that() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE)
        .take(IPXE)
        .take(SCRIPT)
        .take("+1 kernel\n+1 initrd begun=1 image=compute/latest/initrd");
    lab.wait(599.0);
    assert!(lab.found.is_empty(), "it is on its way: {:?}", lab.found);
    lab.wait(2.0);
    assert_eq!(lab.wrong(), [("initrd", Cause::NotEnded)]);
    let finding = &lab.boot().findings[0];
    assert!(finding.kind == Kind::Silence && finding.detail.contains("the initrd began 10m"), "{finding:?}");
    assert!(finding.detail.contains("compute/latest/initrd"), "{finding:?}");
    lab.take("+60 initrd");
    assert!(lab.wrong().is_empty() && lab.boot().evidence.transfer.is_none());
}

#[test]
fn what_was_thought_not_to_be_fetched_is_on_its_way_after_all() {
    let mut lab = Lab::new();
    lab.take(FIRMWARE).take(IPXE).take(SCRIPT).take("+1 kernel").wait(61.0);
    assert_eq!(lab.wrong(), [("initrd", Cause::NotFetched)]);
    lab.take("+1 initrd begun=1");
    assert!(lab.wrong().is_empty() && lab.boot().result == Outcome::Running);
    // It broke off, and the machine's next try is waited for as long as its first.
    lab.take("+9 initrd why=client-gone");
    assert_eq!(lab.wrong(), [("initrd", Cause::CutShort)]);
    assert!(lab.boot().evidence.transfer.is_none());
}

#[test]
fn a_transfer_in_a_good_boot_changes_nothing() {
    let mut lab = Lab::new();
    let begun = SYSTEM
        .replace("+4 initrd", "+1 initrd begun=1\n+3 initrd")
        .replace("+9 root", "+5 root begun=1\n+4 root");
    lab.take(FIRMWARE).take(IPXE).take(SCRIPT).take(&begun);
    let steps: Vec<_> = lab.boot().steps.iter().map(|it| it.stage.name()).collect();
    assert_eq!(steps.iter().filter(|it| **it == "root").count(), 1);
    assert!(lab.found.is_empty() && lab.boot().result == Outcome::Good, "{:?}", lab.found);
    // A system that is up fetches an image: no boot begins by it.
    let started = lab.boot().started;
    lab.take("+4000 kernel begun=1");
    assert_eq!(lab.boot().started, started);
    let mut nobody = Lab::new();
    nobody.take("+1 root begun=1");
    assert!(nobody.board.get(super::NODE).is_none());
}

#[test]
fn firmware_that_there_is_no_loader_for_is_named_with_where_to_name_one() {
    let mut lab = Lab::new();
    lab.take("+0 power-on\n+20 dhcp-discover client=firmware arch=6\n+0 dhcp-offer client=firmware");
    lab.take("+0 tftp-start why=no-loader arch=6");
    assert_eq!(lab.wrong(), [("tftp-start", Cause::NoLoader)]);
    let finding = &lab.boot().findings[0];
    assert!(finding.detail.contains("UEFI x86, 32 bits"), "{finding:?}");
    assert!(finding.next.contains("dhcp.loaders.6"), "{finding:?}");
    assert_eq!(lab.boot().result, Outcome::Failed);
}

#[test]
fn an_offer_that_is_not_made_says_why_and_an_address_in_use_is_named() {
    let mut lab = Lab::new();
    lab.take("+0 power-on\n+20 dhcp-discover client=firmware arch=7");
    lab.take("+0 dhcp-offer client=firmware why=other-plane reason=wrong-cable");
    assert_eq!(lab.wrong(), [("dhcp-offer", Cause::NoOffer)]);
    assert!(lab.boot().findings[0].detail.ends_with("offered none: wrong-cable"));
    let mut lab = Lab::new();
    lab.take("+0 power-on\n+20 dhcp-discover client=firmware arch=7\n+0 dhcp-offer client=firmware");
    lab.take("+0 dhcp-ack client=firmware\n+1 dhcp-ack why=declined address=172.16.0.1");
    assert_eq!(lab.wrong(), [("dhcp-ack", Cause::AddressInUse)]);
    assert!(lab.boot().findings[0].detail.contains("172.16.0.1"));
}
