"""Conformance: does every limit hold on this host? 60 cases and their controls, from the Linux kernel's counters."""
