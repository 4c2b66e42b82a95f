"""Experiments on emulated chips: one model on many, against time, temperature and converters."""
