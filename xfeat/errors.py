"""The errors a user can cause. Each carries one clear line; the command line prints it and exits with 2."""


class XfeatError(Exception):
    """Something xfeat can explain in one line: what is wrong, where, and what to do."""


class InputError(XfeatError):
    """Input that cannot be used: a file, a row, a setting, a cache that does not fit."""


class SampleError(XfeatError):
    """One sample that cannot be read or encoded. Its message becomes the status of the sample's row."""
