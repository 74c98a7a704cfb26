"""Certificates: what holds of a loss, proved, certified, refuted with a witness, or unknown."""
