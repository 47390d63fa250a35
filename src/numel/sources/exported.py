"""A `torch.export.ExportedProgram` as a module that runs, with the modules that it was exported from as its parts."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from numel.facts.inputs import Inputs
from numel.facts.note import Note


def is_program(target: object) -> bool:
    """Whether `target` is an exported program; torch.export is not imported to find out."""
    export = sys.modules.get("torch.export.exported_program")
    return export is not None and isinstance(target, export.ExportedProgram)


def unflattened(program: Any) -> tuple[Any, tuple[Note, ...]]:
    """The program as the tree of modules that its nodes came from: each part runs its own piece of the graph, so that
    rows are told apart. Parameters and buffers are the program's own tensors.

    A graph that can not be cut into its modules stays one piece, with a note.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.export.unflatten(program), ()
        except Exception as error:  # it asserts what an exporter or a pass over the graph may not have kept
            text = f"the graph could not be cut into the modules it came from ({type(error).__name__}): it is one piece"
            return program.module(check_guards=False), (Note("one-graph", "info", text),)


def class_of(module: Any) -> str | None:
    """The class that a part of an unflattened program had."""
    from numel import torch_private  # here, since it imports torch

    return torch_private.exported_class(module)


def example_inputs(program: Any) -> Inputs | None:
    """What the program was exported with."""
    given = program.example_inputs
    return None if given is None else Inputs(tuple(given[0]), dict(given[1]))
