"""Runs, corpora, hosts and oracles that many tests build their input with."""
