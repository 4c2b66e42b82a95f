"""The workstation's side of a bundle: keys, wheels, self-test, bill of materials, one archive."""
