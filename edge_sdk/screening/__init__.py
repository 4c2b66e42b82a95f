"""Screening of thin smears: cells, gates, counts. A screening aid for research, not a medical device."""
