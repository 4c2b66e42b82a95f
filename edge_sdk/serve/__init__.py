"""`edge-sdk serve`: the screening of slides as pages, for a phone beside the device."""
