"""What surrounds every request: plain ASGI, one concern a module, the outermost first in `server.app`."""
