"""Native: what of the runtime room is compiled, its source and what was built of it."""
