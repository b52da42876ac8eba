"""Faults against real processes under load, and the proof that no row was lost or doubled."""
