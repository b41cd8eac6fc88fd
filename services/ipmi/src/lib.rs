//! IPMI 2.0 sessions and serial over LAN, asynchronous, fit to be used by itself.
