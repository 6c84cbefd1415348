"""For services behind the gateway, in WSGI, ASGI and Twisted: who is calling. Imports nothing of the gateway; needs PyJWT."""
