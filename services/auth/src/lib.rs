//! Who may do what: the OpenID Connect issuer of the head's tokens.
