"""The runtime room: a bundle's handler in the real Lambda runtime client, as Lambda would run it."""
