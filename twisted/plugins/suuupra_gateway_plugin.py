"""Keep this light: every twistd on the machine imports it."""

from twisted.application.service import ServiceMaker

# The name of this variable is in the plugin cache of installed machines: never rename it.
gateway = ServiceMaker("suuupra-gateway", "suuupra_gateway.tap", "The suuupra API gateway.", "suuupra-gateway")
