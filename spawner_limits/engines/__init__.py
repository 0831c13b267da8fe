"""Translate: limits into an engine's own words, and into what the Linux kernel must then show. Pure."""
