//! The corpora of the fuzz targets.

#[path = "../../../../tests/fuzz/replay.rs"]
pub(crate) mod replay;

#[test]
fn datagrams() {
    replay::replay("ipmi_datagram", ipmi::fuzz::datagram);
}

#[test]
fn handshakes() {
    replay::replay("ipmi_handshake", ipmi::fuzz::handshake);
}

#[test]
fn lines() {
    replay::replay("ipmi_line", ipmi::fuzz::line);
}

#[test]
fn data() {
    replay::replay("ipmi_data", ipmi::fuzz::data);
}

#[test]
fn records() {
    replay::replay("ipmi_record", ipmi::fuzz::record);
}
