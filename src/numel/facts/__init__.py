"""What is true: flat tables of frozen records keyed by dotted path. Standard library only."""

from numel.facts.change import Change, ChangeKind
from numel.facts.difference import ONE_VALUE, ValueDifference
from numel.facts.dtype import DType, dtype, dtype_of, known_dtypes
from numel.facts.histogram import Histogram
from numel.facts.history import Alarm, Sample, Seen, Values
from numel.facts.note import Note, listed
from numel.facts.provenance import Provenance
from numel.facts.snapshot import ModuleRecord, Snapshot, above_of
from numel.facts.statistics import Statistics
from numel.facts.tensor import Part, TensorRecord
from numel.facts.totals import Totals
from numel.facts.trace import (
    OUTSIDE,
    WAYS_OUT,
    CallRecord,
    Failure,
    MemoryEvent,
    OpRecord,
    Phase,
    TensorSpec,
    Trace,
    tensors_in,
)

__all__ = [
    "ONE_VALUE",
    "OUTSIDE",
    "WAYS_OUT",
    "Alarm", "CallRecord", "Change", "ChangeKind", "DType", "Failure", "Histogram", "MemoryEvent", "ModuleRecord",
    "Note", "OpRecord", "Part", "Phase", "Provenance", "Sample", "Seen", "Snapshot", "Statistics", "TensorRecord",
    "TensorSpec", "Totals", "Trace", "ValueDifference", "Values", "above_of", "dtype", "dtype_of", "known_dtypes",
    "listed", "tensors_in",
]  # fmt: skip
