"""Supervisor and workers: how the gateway lives on a machine."""
