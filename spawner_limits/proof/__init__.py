"""Prove: the law of evidence, from snapshots to a verdict. Pure."""
