//! What every process needs: start, readiness, stop signal, logging, health issues.
