"""Unusual records of a stream, found by how long they are to describe under a model of the stream's past."""
