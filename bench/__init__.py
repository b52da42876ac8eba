"""Measures the product, its peers and the limit of PostgreSQL side by side: `make bench`."""
