//! TLS 1.3 with mutual raw public keys (RFC 7250). The only module that names rustls.
