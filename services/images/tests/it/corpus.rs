//! The corpora of the fuzz targets.

#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn heads_of_any_kind_are_read() {
    replay::replay("http", images::fuzz::request);
}

#[test]
fn ranges_of_any_kind_stay_in_the_file() {
    replay::replay("range", images::fuzz::range);
}
