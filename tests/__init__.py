"""Tests mirror the tree of the package; see CONTRIBUTING.rst."""
