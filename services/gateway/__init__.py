"""The gateway: composes what the other services know into one decision."""
