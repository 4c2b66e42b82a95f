"""What runs on the device when nothing is installed there yet: the standard library alone."""
