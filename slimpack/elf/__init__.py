"""ELF files: read and check with LIEF, compact, and account for what they need."""
