"""Benchmarks: measured here, published, or estimated from a device profile; always labelled."""
