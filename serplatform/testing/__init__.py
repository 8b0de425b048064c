"""Contracts and tiny synthetic data for the tests of a registered class, here or elsewhere."""
