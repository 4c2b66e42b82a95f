"""Measures a model on another machine: over SSH on a board, over adb on a phone."""
