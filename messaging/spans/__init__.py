"""The bus's own span store: bounded, written in batches off the hot path, for the console's live traces.

A span is an observation, never a fact: losing one costs a picture, so nothing here may slow or fail a delivery.
"""
