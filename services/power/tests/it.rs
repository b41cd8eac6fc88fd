//! The service from outside: its socket on one side, BMCs of the real `ipmi_sim` on the other. Run as root, whom
//! the socket's peer credentials make an administrator.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod accounts;
    mod caps;
    mod commands;
    mod faults;
    mod head;
    mod kept;
    mod order;
    mod pcs;
    mod powerman;
    mod reach;
    mod recover;
    mod redfish;
    mod rights;
    mod simulator;
    mod stream;
}
