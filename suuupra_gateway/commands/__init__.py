"""The subcommands of ``suuupra-gateway``, a module each."""
