"""Models on disk and from the network."""
