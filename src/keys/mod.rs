//! Key pairs and trusted keys: `ppkeys/localhost.{priv,pub}`, `ppkeys/USER-ADDRESS.pub` (KY-01, KY-02).
