"""Verification: whether a bundle would run, and, if it would not, which file is missing and who took it."""
