//! What a node becomes: user-data, meta-data and vendor-data for cloud-init's NoCloud source.
