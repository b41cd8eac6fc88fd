//! What a node boots: boot parameters and iPXE scripts, the BSS API.
