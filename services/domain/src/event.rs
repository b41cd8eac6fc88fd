//! The events of the journal that somebody may search for: each has a MESSAGE_ID and a catalog entry.

use crate::BootStage;

/// How much an event matters, as syslog's priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Normal work.
    Info,
    /// Someone should look.
    Warning,
    /// Someone must act.
    Error,
}

/// An event that has a MESSAGE_ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// 32 lower-case hex digits (sd_journal_print(3), MESSAGE_ID=).
    pub id: &'static str,
    /// The word of documentation and tests, `dhcp-unknown`.
    pub name: &'static str,
    /// How much it matters.
    pub level: Level,
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $level:ident, $id:literal;)*) => {
        $($(#[$doc])* pub const $name: Event = Event { id: $id, name: $word, level: Level::$level };)*
        /// Every event, for the catalog and its test.
        pub const ALL: &[Event] = &[$($name),*];
    };
}

events! {
    /// A service answers.
    SERVICE_READY = "service-ready", Info, "a1c0de0150f14d6ba7a1000000000001";
    /// A service runs without its database.
    DATABASE_LOST = "database-lost", Warning, "a1c0de0150f14d6ba7a1000000000002";
    /// The database is back.
    DATABASE_BACK = "database-back", Info, "a1c0de0150f14d6ba7a1000000000003";
    /// A service serves from its last good snapshot.
    MIRROR_STALE = "mirror-stale", Warning, "a1c0de0150f14d6ba7a1000000000004";
    /// A client that is in no inventory asked for an address.
    DHCP_UNKNOWN = "dhcp-unknown", Warning, "a1c0de0150f14d6ba7a1000000000005";
    /// A packet that cannot be read.
    DHCP_MALFORMED = "dhcp-malformed", Warning, "a1c0de0150f14d6ba7a1000000000006";
    /// A BMC does not answer or refuses.
    BMC_UNREACHABLE = "bmc-unreachable", Warning, "a1c0de0150f14d6ba7a1000000000007";
    /// A power command was carried out.
    POWER_DONE = "power-done", Info, "a1c0de0150f14d6ba7a1000000000008";
    /// A power command failed.
    POWER_FAILED = "power-failed", Warning, "a1c0de0150f14d6ba7a1000000000009";
    /// A console is logged.
    CONSOLE_OPEN = "console-open", Info, "a1c0de0150f14d6ba7a100000000000a";
    /// A console was lost; the log has a gap.
    CONSOLE_LOST = "console-lost", Warning, "a1c0de0150f14d6ba7a100000000000b";
    /// A write was refused for want of rights.
    ACCESS_DENIED = "access-denied", Warning, "a1c0de0150f14d6ba7a100000000000c";
    /// A certificate was issued.
    CERTIFICATE_ISSUED = "certificate-issued", Info, "a1c0de0150f14d6ba7a100000000000d";
    /// A certificate could not be had.
    CERTIFICATE_FAILED = "certificate-failed", Error, "a1c0de0150f14d6ba7a100000000000e";
    /// A unit of the head failed.
    UNIT_FAILED = "unit-failed", Error, "a1c0de0150f14d6ba7a100000000000f";
    /// A configuration was applied.
    CONFIG_APPLIED = "config-applied", Info, "a1c0de0150f14d6ba7a1000000000010";
    /// A configuration was refused.
    CONFIG_REFUSED = "config-refused", Error, "a1c0de0150f14d6ba7a1000000000011";
    /// A configuration was turned back, and the one before it is in force again.
    CONFIG_REVERTED = "config-reverted", Error, "a1c0de0150f14d6ba7a1000000000019";
    /// Files that the head writes were changed by hand.
    CONFIG_EDITED = "config-edited", Warning, "a1c0de0150f14d6ba7a100000000001a";
    /// Set-up is complete.
    SETUP_COMPLETE = "setup-complete", Info, "a1c0de0150f14d6ba7a1000000000012";
    /// Nodes were imported.
    NODES_IMPORTED = "nodes-imported", Info, "a1c0de0150f14d6ba7a1000000000013";
    /// A node was locked.
    NODE_LOCKED = "node-locked", Info, "a1c0de0150f14d6ba7a1000000000014";
    /// A node was unlocked.
    NODE_UNLOCKED = "node-unlocked", Info, "a1c0de0150f14d6ba7a1000000000015";
    /// Another board stands in a node's place.
    BOARD_REPLACED = "board-replaced", Info, "a1c0de0150f14d6ba7a1000000000016";
    /// Nodes are on and show no sign of life since the head was started.
    NODES_NOT_BOOTED = "nodes-not-booted", Warning, "a1c0de0150f14d6ba7a1000000000017";
    /// A BMC shows another certificate than before; nothing is sent to it.
    BMC_CERTIFICATE_CHANGED = "bmc-certificate-changed", Error, "a1c0de0150f14d6ba7a1000000000018";
    /// Two machines claimed the token of one node.
    JOIN_CONTESTED = "join-contested", Error, "a1c0de0150f14d6ba7a1000000000201";
    /// A token could not be written on its node.
    JOIN_PUSH_FAILED = "join-push-failed", Warning, "a1c0de0150f14d6ba7a1000000000202";
    /// A machine was refused a nonce or a token.
    JOIN_REFUSED = "join-refused", Warning, "a1c0de0150f14d6ba7a1000000000203";
    /// A TPM was enrolled on first use.
    JOIN_ENROLLED = "join-enrolled", Warning, "a1c0de0150f14d6ba7a1000000000204";
    /// A log-in with a password failed.
    LOGIN_FAILED = "login-failed", Warning, "a1c0de0150f14d6ba7a1000000000301";
    /// A boot stands still or was refused something; the stage and the likely cause are named.
    BOOT_STOPPED = "boot-stopped", Warning, "a1c0de0150f14d6ba7a1000000000401";
    /// Boot events are lost: they come faster than they are written, or PostgreSQL has been away for long.
    TIMELINE_LOST = "timeline-lost", Warning, "a1c0de0150f14d6ba7a1000000000402";
    /// The records of who did what do not follow from each other: one was changed or taken away.
    AUDIT_BROKEN = "audit-broken", Error, "a1c0de0150f14d6ba7a1000000000403";
    /// The journal cannot be read, so that nothing new is in the audit.
    AUDIT_BEHIND = "audit-behind", Warning, "a1c0de0150f14d6ba7a1000000000404";
    /// Where the audit stands, with the hash that all before it goes into.
    AUDIT_ANCHOR = "audit-anchor", Info, "a1c0de0150f14d6ba7a1000000000405";
    /// Another DHCP server answers on a node plane.
    DHCP_RIVAL = "dhcp-rival", Warning, "a1c0de0150f14d6ba7a1000000000501";
    /// A client found its address in use by another machine.
    DHCP_DECLINED = "dhcp-declined", Warning, "a1c0de0150f14d6ba7a1000000000502";
    /// The inventory gives one address to two machines, or one that dhcp's own settings give away.
    DHCP_DUPLICATE = "dhcp-duplicate", Warning, "a1c0de0150f14d6ba7a1000000000503";
    /// Leases cannot be kept; unknown machines get no answer meanwhile.
    DHCP_LEASES_LOST = "dhcp-leases-lost", Warning, "a1c0de0150f14d6ba7a1000000000504";
    /// A file that nodes ask for may not be read.
    IMAGE_UNREADABLE = "image-unreadable", Warning, "a1c0de0150f14d6ba7a1000000000701";
    /// A file of an image is not what it was.
    IMAGE_DAMAGED = "image-damaged", Error, "a1c0de0150f14d6ba7a1000000000702";
    /// No time server sets the head's clock.
    CLOCK_UNSYNCHRONISED = "clock-unsynchronised", Warning, "a1c0de0150f14d6ba7a1000000000901";
    /// A file system of the head is nearly full.
    DISK_FULL = "disk-full", Error, "a1c0de0150f14d6ba7a1000000000902";
    /// The kernel lets nobody write to a file system of the head any more.
    DISK_READ_ONLY = "disk-read-only", Error, "a1c0de0150f14d6ba7a1000000000903";
    /// PostgreSQL needs somebody to look at it.
    DATABASE_TROUBLE = "database-trouble", Warning, "a1c0de0150f14d6ba7a1000000000904";
    /// A health issue is gone.
    HEALTH_SOLVED = "health-solved", Info, "a1c0de0150f14d6ba7a1000000000905";
    /// A NIC of a plane has no link, or a poor one.
    LINK_TROUBLE = "link-trouble", Warning, "a1c0de0150f14d6ba7a1000000000906";
    /// The kernel's table of neighbours is too small for the cluster.
    NEIGHBOURS_SHORT = "neighbours-short", Warning, "a1c0de0150f14d6ba7a1000000000907";
    /// A line of a console matches a pattern of the site.
    CONSOLE_PATTERN = "console-pattern", Warning, "a1c0de0150f14d6ba7a1000000000801";
    /// The power command of a boot.
    BOOT_POWER_ON = "boot-power-on", Info, "a1c0de0150f14d6ba7a1000000000101";
    /// DISCOVER seen.
    BOOT_DHCP_DISCOVER = "boot-dhcp-discover", Info, "a1c0de0150f14d6ba7a1000000000102";
    /// OFFER sent.
    BOOT_DHCP_OFFER = "boot-dhcp-offer", Info, "a1c0de0150f14d6ba7a1000000000103";
    /// ACK sent.
    BOOT_DHCP_ACK = "boot-dhcp-ack", Info, "a1c0de0150f14d6ba7a1000000000104";
    /// TFTP transfer began.
    BOOT_TFTP_START = "boot-tftp-start", Info, "a1c0de0150f14d6ba7a1000000000105";
    /// TFTP transfer ended.
    BOOT_TFTP_END = "boot-tftp-end", Info, "a1c0de0150f14d6ba7a1000000000106";
    /// Boot script served.
    BOOT_SCRIPT = "boot-script", Info, "a1c0de0150f14d6ba7a1000000000107";
    /// Kernel served.
    BOOT_KERNEL = "boot-kernel", Info, "a1c0de0150f14d6ba7a1000000000108";
    /// Initrd served.
    BOOT_INITRD = "boot-initrd", Info, "a1c0de0150f14d6ba7a1000000000109";
    /// Root file system served.
    BOOT_ROOT = "boot-root", Info, "a1c0de0150f14d6ba7a100000000010a";
    /// meta-data served.
    BOOT_METADATA = "boot-metadata", Info, "a1c0de0150f14d6ba7a100000000010b";
    /// user-data served.
    BOOT_USERDATA = "boot-userdata", Info, "a1c0de0150f14d6ba7a100000000010c";
    /// Token handed over.
    BOOT_JOIN = "boot-join", Info, "a1c0de0150f14d6ba7a100000000010d";
    /// cloud-init's end reported.
    BOOT_PHONE_HOME = "boot-phone-home", Info, "a1c0de0150f14d6ba7a100000000010e";
    /// Log-in prompt seen.
    BOOT_LOGIN = "boot-login", Info, "a1c0de0150f14d6ba7a100000000010f";
    /// Kernel panic seen.
    BOOT_PANIC = "boot-panic", Error, "a1c0de0150f14d6ba7a1000000000110";
}

impl BootStage {
    /// The event of this stage.
    #[must_use]
    pub fn event(self) -> Event {
        match self {
            Self::PowerOn => BOOT_POWER_ON,
            Self::DhcpDiscover => BOOT_DHCP_DISCOVER,
            Self::DhcpOffer => BOOT_DHCP_OFFER,
            Self::DhcpAck => BOOT_DHCP_ACK,
            Self::TftpStart => BOOT_TFTP_START,
            Self::TftpEnd => BOOT_TFTP_END,
            Self::Script => BOOT_SCRIPT,
            Self::Kernel => BOOT_KERNEL,
            Self::Initrd => BOOT_INITRD,
            Self::Root => BOOT_ROOT,
            Self::Metadata => BOOT_METADATA,
            Self::Userdata => BOOT_USERDATA,
            Self::Join => BOOT_JOIN,
            Self::PhoneHome => BOOT_PHONE_HOME,
            Self::Login => BOOT_LOGIN,
            Self::Panic => BOOT_PANIC,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let ids: std::collections::HashSet<_> = ALL.iter().map(|it| it.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in ids {
            assert!(id.len() == 32 && id.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        }
    }
}
