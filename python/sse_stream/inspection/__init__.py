"""A look at a feed nobody has described: what it sends, and a preset to begin with."""
