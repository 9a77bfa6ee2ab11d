"""Data, models, training, evaluation and sweeps for the study of generalization."""
