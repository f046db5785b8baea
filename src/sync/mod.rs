//! The client side of a sync: connect, ask for a manifest, fetch content (see `wire`).
