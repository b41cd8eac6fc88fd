//! The front door: TLS, routing to the services, limits.
