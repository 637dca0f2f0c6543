"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in the input. The message says what was wrong, where, and what would be right."""
