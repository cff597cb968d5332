"""Packed modules: source and bytecode of Python modules, compressed in one archive of the bundle."""
