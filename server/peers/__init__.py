"""The workers of one server, which reach each other over Unix sockets in a directory of their own."""
