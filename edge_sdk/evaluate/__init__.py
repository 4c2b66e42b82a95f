"""Artifacts side by side on labelled images: figures, intervals, curves, calibration."""
