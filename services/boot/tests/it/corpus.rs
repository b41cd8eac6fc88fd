//! The corpus of the fuzz target.

#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn nothing_that_is_asked_or_set_becomes_a_command() {
    replay::replay("bootscript", boot::fuzz::bootscript);
}
