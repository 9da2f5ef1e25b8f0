"""The feature service: keeps what happened to customers and turns it into numbers."""
