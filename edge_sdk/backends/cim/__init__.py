"""Compute-in-memory: runs the deployed file on an emulated chip."""
