"""Screening of thin smears: cells, gates, counts, sessions, reports.

A screening aid for research, not a medical device.
"""
