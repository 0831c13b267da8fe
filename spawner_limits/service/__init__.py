"""Serve: the Hub service that brings running servers to the policy."""
