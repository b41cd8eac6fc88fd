//! The corpora of the fuzz targets.

#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn dhcp_messages_of_any_kind_are_read() {
    replay::replay("dhcp", dhcp::fuzz::dhcp);
}

#[test]
fn tftp_packets_of_any_kind_are_read() {
    replay::replay("tftp", dhcp::fuzz::tftp);
}
