"""A server's whole life: its limits attested at each start, its OOM kills told, its limits changed while it runs."""
