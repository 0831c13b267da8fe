"""Probes: the small loads of the conformance cases, run with a container's own python3. They need nothing else."""
