//! The library from outside: against the real `ipmi_sim` with `ipmitool` beside it, and against a BMC of our
//! own that speaks suite 17 and misbehaves on demand.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod corpus;
    mod crowd;
    mod fake;
    mod faults;
    mod handshake;
    mod hostile;
    mod line;
    mod pool;
    mod pyghmi;
    mod resume;
    mod simulator;
    mod simulator_data;
    mod simulator_power;
    mod simulator_sol;
    mod workarounds;

    use std::time::Duration;

    use ipmi::SessionOptions;

    /// Far longer than anything here takes: only a hang meets it.
    pub(crate) const LIMIT: Duration = Duration::from_secs(60);

    /// Waits that suit loopback.
    pub(crate) fn quick() -> SessionOptions {
        SessionOptions {
            first_wait: Duration::from_millis(40),
            longest_wait: Duration::from_millis(200),
            deadline: Duration::from_secs(4),
            ..SessionOptions::default()
        }
    }

    /// Ends a test that hangs.
    pub(crate) async fn limited<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(LIMIT, work).await.expect("the test hangs")
    }
}
