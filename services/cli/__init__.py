"""The ``tact`` command: one lazily imported module for each subcommand."""
