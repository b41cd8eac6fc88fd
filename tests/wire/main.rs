//! Real clients in network namespaces.
