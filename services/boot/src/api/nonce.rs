//! What boot does for join: the nonce that a script names, and the host keys that a node reports.

use std::net::IpAddr;
use std::time::Duration;

use domain::{MacAddr, Xname};
use join::Policy;
use join::client::Report;

use super::Boot;
use crate::model::{Asked, node_mac, node_of};

/// How long a machine's script, or its word that it is done, waits for join.
const JOIN_MAX: Duration = Duration::from_secs(2);

impl Boot {
    /// The NIC by which a node of the policy `nonce` asks; none for every other machine.
    pub(super) fn nonce_nic(&self, asked: &Asked) -> Option<MacAddr> {
        let join = &self.config.join;
        if !join.uses(Policy::Nonce) {
            return None;
        }
        self.inventory.read(|it| {
            let node = node_of(it, asked, &self.config.node_name)?;
            let mac = asked.mac().or_else(|| node_mac(it, node))?;
            (join.policy_of(it, &node.id) == Policy::Nonce).then_some(mac)
        })
    }

    /// The same while its window is open; join knows from then on that the script was rendered.
    pub(super) async fn arm_nonce(&self, asked: &Asked) -> Option<MacAddr> {
        let mac = self.nonce_nic(asked)?;
        let armed = tokio::time::timeout(JOIN_MAX, join::client::arm(self.join.as_ref()?, mac)).await;
        match armed {
            Ok(Ok(armed)) => armed.then_some(mac),
            Ok(Err(error)) => {
                tracing::warn!(pilothouse_mac = %mac, "{mac} boots without a nonce: {error}");
                None
            }
            Err(_) => {
                tracing::warn!(pilothouse_mac = %mac, "{mac} boots without a nonce: join does not answer");
                None
            }
        }
    }

    /// Tells join which host keys a node of the policy `push` reports.
    pub(super) async fn report(&self, node: &Xname, address: IpAddr, host_keys: Vec<String>) {
        let concerns = self.config.join.uses(Policy::Push)
            && self.inventory.read(|it| self.config.join.policy_of(it, node)) == Policy::Push;
        let Some(join) = self.join.as_ref().filter(|_| concerns) else { return };
        let report = Report { address, host_keys };
        match tokio::time::timeout(JOIN_MAX, join::client::report(join, node, &report)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(pilothouse_node = %node, "{node} gets no token: {error}"),
            Err(_) => tracing::warn!(pilothouse_node = %node, "{node} gets no token: join does not answer"),
        }
    }
}
