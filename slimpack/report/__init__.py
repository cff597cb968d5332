"""The manifest as text: for a terminal and for machines."""
