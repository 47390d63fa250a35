"""The version of numel, which facts name as what they were found with."""

__version__ = "0.1.0"
