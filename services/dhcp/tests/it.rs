//! The service from outside, as a process of its own: udhcpc, dhclient and tftp in network namespaces, a
//! relay, and whatever strangers send. Run as root: namespaces and port 67 need it.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod clients;
    mod corpus;
    mod desk;
    mod durable;
    mod inventory;
    mod lab;
    mod loader;
    mod relay;
    mod rough;
    mod service;
    mod stranger;
    mod way;
    mod wire;
    mod wires;

    use std::time::Duration;

    /// Far longer than anything here takes: only a hang meets it.
    const LIMIT: Duration = Duration::from_secs(30);
}
