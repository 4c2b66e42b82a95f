"""Device profiles as package data: read with importlib.resources, never by path."""
