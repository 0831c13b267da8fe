"""A hub to try and to test with: throw-away accounts, loopback only, gone without a trace."""
