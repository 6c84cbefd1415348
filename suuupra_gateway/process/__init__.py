"""Supervisor and workers: who binds, who serves, who watches whom."""
