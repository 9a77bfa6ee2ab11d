"""What happened inside the models, and the report on it."""
