"""Prove: press on a server's limits, read the Linux kernel's counters, judge, report."""
