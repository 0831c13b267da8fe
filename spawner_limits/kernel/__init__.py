"""Read: a container's cgroups, below a root that the caller gives. Writes nothing, decides nothing."""
