//! The service from outside: its socket and its logs on one side, BMCs of the real `ipmi_sim` on the other.
//! Run as root, whom the socket's peer credentials make an administrator.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod attach;
    mod boots;
    mod conman;
    mod faults;
    mod head;
    mod inventory;
    mod kept;
    mod logs;
    mod ports;
    mod relay;
    mod repeats;
    mod search;
    mod simulator;
    mod ssh;
}
