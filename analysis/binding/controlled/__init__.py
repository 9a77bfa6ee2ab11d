"""Small models trained from scratch on scenes, so that coverage and seed are the only causes."""
