"""Bounds: the floor, which reads no document, and the ceiling, which reads it all."""
