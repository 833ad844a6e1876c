"""Faces of one core: an async bus, and the synchronous bus, queue and coordination services."""
