//! Bytes: the second initrd, TPM structures, the protocol of SSH agents.

pub(crate) mod agent;
pub(crate) mod cpio;
pub(crate) mod ssh;
pub(crate) mod tpm;
