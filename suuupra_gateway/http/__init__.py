"""HTTP/1.1 over a byte transport: messages, parsing, exchanges; knows no routes and no configuration files."""
