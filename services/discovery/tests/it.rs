//! The service from outside: its socket on one side, BMCs of several makers' shapes, the swarm's and odd ones on the
//! other. Run as root, whom the socket's peer credentials make an administrator.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod faults;
    mod head;
    mod jobs;
    mod makers;
}
