"""The one way in which a job says that it will not do its work."""


class Refused(Exception):
    """A job cannot do its work on what it was given; nothing was changed.

    The message names what is wrong and where, for the person who wrote the configuration
    or the data. It never holds a customer's values.
    """
