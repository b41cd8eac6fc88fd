//! chrony's configuration: the site's servers for the head, the head's clock for its nodes and BMCs.

use std::collections::BTreeSet;

use domain::Document;
use domain::document::PlaneKind;

use super::HEADER;

/// The whole file, in the place of Debian's.
pub(super) fn chrony(document: &Document) -> String {
    let mut text = HEADER.to_owned();
    for server in &document.network.ntp {
        text.push_str(&format!("server {server} iburst\n"));
    }
    let planes = document.network.planes.iter().filter(|it| it.kind != PlaneKind::Site);
    let networks: BTreeSet<_> = planes.flat_map(|it| it.networks()).collect();
    for network in networks {
        text.push_str(&format!("allow {network}\n"));
    }
    text + "# Without a server, or without an answer from it, nodes still agree with the head.\n\
        local stratum 10\n\
        # chronyc asks over its UNIX socket.\n\
        cmdport 0\n\
        driftfile /var/lib/chrony/chrony.drift\n\
        makestep 1 3\n\
        rtcsync\n"
}

#[cfg(test)]
mod tests {
    #[test]
    fn nodes_and_bmcs_may_ask_and_the_site_may_not() {
        let text = super::super::tests::text_of("/etc/chrony/pilothouse.conf");
        assert!(text.contains("server ntp.site.example iburst\n"), "{text}");
        for net in ["172.16.0.0/24", "172.16.100.0/24", "172.17.0.0/24", "10.1.0.0/16"] {
            assert!(text.contains(&format!("allow {net}\n")), "{text}");
        }
        assert_eq!(text.matches("allow ").count(), 4);
    }
}
