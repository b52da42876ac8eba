"""The daily handling of the stack, in containers or embedded: one verb each, for `make VERB`."""
