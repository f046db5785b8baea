//! Names of addresses: forward-confirmed reverse look-up behind a blocking call.
