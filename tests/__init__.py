"""Tests of the package; ``support`` holds what many of them build their input with."""
