"""Datasets and runs on object storage: addresses, requests, caches and working copies."""
