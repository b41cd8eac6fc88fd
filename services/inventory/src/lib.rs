//! What there is: components, BMCs, interfaces and groups, the SMD API, and the secrets of BMCs.
