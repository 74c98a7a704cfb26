"""The checker of stored certificates: small, and without one line of the prover (a test sees to that)."""
