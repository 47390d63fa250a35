"""Every error that numel raises on purpose. The message is one line: what, where, what was expected, what to do.

    NumelError
    ├── TargetError        a target that names nothing, or nothing that numel can read
    │   └── FormatError    a file that is not what its format allows
    ├── InputsError        an inputs notation that does not parse, or inputs that do not fit
    ├── SchemaError        a saved result of an unknown or newer schema
    ├── ViewError          a column, sort key, view or renderer that does not exist
    └── MissingExtra       an optional library that is not installed
"""

from __future__ import annotations


class NumelError(Exception):
    """The root of the tree: the command line prints its message alone and exits with `exit_code`."""

    exit_code = 1


class TargetError(NumelError):
    """The target names nothing, or nothing that numel can read."""


class FormatError(TargetError):
    """The file is not what its format allows."""


class InputsError(NumelError):
    """The inputs do not parse, or do not fit the model."""

    exit_code = 2


class SchemaError(NumelError):
    """A saved result of an unknown or newer schema."""


class ViewError(NumelError):
    """A column, sort key, view or renderer that does not exist."""

    exit_code = 2


class MissingExtra(NumelError):
    """An optional library that is not installed."""
