"""edge-sdk: a trained MobileNet, taken to a small device and checked at every step."""

__version__ = "0.1.0"

__all__ = ["__version__"]
