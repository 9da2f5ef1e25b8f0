"""How the gateway reaches other services and its own store."""
