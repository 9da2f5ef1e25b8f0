"""The one exception of a subcommand that its user should read."""


class Failure(Exception):
    """A subcommand cannot go on; the message says why and what to do."""
