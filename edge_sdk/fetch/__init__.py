"""Public data sets: fetched from their own address, checked, unpacked, with an index."""
