"""The profile service: who a customer is, what is on file, and what they permitted."""
