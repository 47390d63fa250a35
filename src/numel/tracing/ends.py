"""What ends a run because this way of running can not go on: the next one may.

They leave a forward that catches every Exception, and a recorder remembers them in case that it catches these, too.
"""

from __future__ import annotations

import torch


class DataDependent(BaseException):
    """The forward needs data that this way of running does not have; the next one may."""


class NeedsDtype(BaseException):
    """The first consumer of an input whose element type was not given says what it must be."""

    def __init__(self, which: int, dtype: torch.dtype) -> None:
        super().__init__(which, dtype)
        self.which = which
        self.dtype = dtype


class NotAlike(BaseException):
    """A block did not do what one did that looks the same: the run begins anew, and each block beside it runs. `path`
    is that of the first of these."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


Ends = DataDependent | NeedsDtype | NotAlike
