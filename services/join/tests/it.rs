//! The service from outside: its router as boot, power, the gateway and administrators meet it, a real PostgreSQL, a
//! real TPM (swtpm) and its tools, a real SSH server.

#[expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
mod it {
    mod head;
    mod nonce;
    mod push;
    mod rights;
    mod tpm;
}
