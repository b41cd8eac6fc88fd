//! The client against BMCs that keep to the specification, and that do not.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod client;
}
