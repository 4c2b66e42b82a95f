"""A camera's frames to answers, for as long as the device runs: `edge-classify`."""
