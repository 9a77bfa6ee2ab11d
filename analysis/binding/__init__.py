"""Concept binding: does a model know which concept goes with which object?"""
