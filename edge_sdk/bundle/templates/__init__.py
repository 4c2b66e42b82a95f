"""What a bundle brings for the device beside wheels and model: installer, service, settings."""
