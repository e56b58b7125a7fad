"""Latency, start-up and memory: `limiar bench`."""
