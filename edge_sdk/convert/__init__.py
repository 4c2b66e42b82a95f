"""Trained model -> Artifact."""
