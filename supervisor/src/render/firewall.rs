//! nftables' rules, from the port table: what a plane may reach, and nothing else; the head forwards nothing.

use domain::Document;
use domain::document::PlaneKind;
use domain::port::{Port, Protocol, TABLE};

use super::{HEADER, NicOf, network};

/// The ruleset: one table of ours, replaced as a whole in one transaction.
pub(super) fn ruleset(document: &Document, nic_of: NicOf<'_>) -> String {
    let mut rules = String::new();
    for port in network::ports(&document.network) {
        let names: Vec<_> = port.planes.iter().map(|it| it.name.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let Some(interface) = port.interface(nic_of) else {
            rules
                .push_str(&format!("        # {}: there is no such NIC in this machine\n", names.join(", ")));
            continue;
        };
        rules.push_str(&format!("        # {}\n", names.join(", ")));
        let kinds: Vec<_> = port.planes.iter().map(|it| it.kind).collect();
        for (protocol, word) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
            let ports = open_ports(document, &kinds, protocol);
            if !ports.is_empty() {
                rules.push_str(&format!(
                    "        iifname \"{interface}\" {word} dport {{ {ports} }} accept\n"
                ));
            }
        }
    }
    format!(
        "{HEADER}\
# Made and deleted, so that it is there to be deleted.
table inet pilothouse
delete table inet pilothouse
table inet pilothouse {{
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        iif \"lo\" accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
{rules}    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
    }}
}}
"
    )
}

fn open_ports(document: &Document, kinds: &[PlaneKind], protocol: Protocol) -> String {
    let faces = |it: &&Port| it.protocol == protocol && it.planes.iter().any(|it| kinds.contains(it));
    let open = TABLE.iter().filter(faces).filter(|it| it.is_open(document));
    open.map(|it| it.number.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use domain::document::PlaneKind;
    use domain::port::Protocol;

    use super::super::tests::{document, text_of};

    #[test]
    fn each_plane_reaches_what_the_port_table_opens() {
        let text = text_of("/etc/pilothouse/nftables.conf");
        for rule in [
            "iifname \"ens2\" tcp dport { 22, 8443 } accept",
            "iifname \"ens3\" tcp dport { 22, 8080, 8081, 8443 } accept",
            "iifname \"ens3\" udp dport { 67, 69, 123, 4011 } accept",
            "iifname \"bond0\" tcp dport { 22, 8080, 8081, 8443 } accept",
            "iifname \"bmc20\" udp dport { 67, 123 } accept",
        ] {
            assert!(text.contains(rule), "{rule} in {text}");
        }
        assert_eq!(text.matches("policy drop").count(), 2);
        assert!(!text.contains("\"bmc20\" tcp") && !text.contains("\"ens2\" udp"), "{text}");
    }

    #[test]
    fn a_port_with_a_setting_is_open_where_it_is_set() {
        let mut document = document();
        let site =
            |document: &domain::Document| super::open_ports(document, &[PlaneKind::Site], Protocol::Tcp);
        assert_eq!(site(&document), "22, 8443");
        document.gateway.insert("public_https".to_owned(), true.into());
        assert_eq!(site(&document), "22, 443, 8443");
    }

    #[test]
    fn a_nic_that_is_not_there_opens_nothing() {
        let text = super::ruleset(&document(), &|_| None);
        assert!(text.contains("# nodes: there is no such NIC") && !text.contains("ens3"), "{text}");
    }
}
