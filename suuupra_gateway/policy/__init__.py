"""Arithmetic and tables: pure functions and small state machines; time is always an argument."""
