//! The certificate authority of the cluster: root, intermediate, leaf certificates.
