"""The exported network as data: its representation, reader, lint and rewrites."""
