"""Scenes of several objects, each object a combination of concepts: their world, without pixels."""
