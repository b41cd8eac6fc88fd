//! Addresses and boot files: DHCPv4 for known machines, and TFTP.
