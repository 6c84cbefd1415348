"""
An API gateway for many microservices, on Twisted.

Start with ``docs/architecture.rst`` (the life of a request) and ``suuupra_gateway/interfaces.py`` (the seams).
"""

__version__ = "0.1.0.dev0"
