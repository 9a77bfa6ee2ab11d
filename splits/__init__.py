"""Which samples a model sees: pure functions on tables, no pixels, no networks."""
