//! HTTP for the services: problem documents, JSON bodies, callers and scopes, the PostgreSQL pool, the Mirror.
